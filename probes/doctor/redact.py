"""Takes secrets, and who and where somebody is, out of a text that is given away."""

from __future__ import annotations

import re
from collections.abc import Sequence

GONE = "[redacted]"
_RULES: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|\Z)", re.DOTALL), GONE),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {GONE}"),
    (re.compile(r"\b(hf_|sk-|ghp_|gho_|github_pat_|glpat-|pul-|nvapi-|xox[bp]-)[A-Za-z0-9_-]{6,}"), rf"\1{GONE}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), GONE),
    (re.compile(r"\bAKIA[A-Z0-9]{12,}\b"), GONE),
    (re.compile(r"(?i)(\b[a-z+]+://)[^/\s:@]+:[^/\s@]+@"), rf"\1{GONE}@"),
    (re.compile(r"\bv1:[A-Za-z0-9+/=]{6,}:[A-Za-z0-9+/=]{6,}(:[A-Za-z0-9+/=]+)?"), GONE),
    (re.compile(r"(?i)(\b(?:certificate-authority|client-certificate|client-key)-data:\s*)\S+"), rf"\1{GONE}"),
    # A name that ends like a secret's, as YAML, JSON, an environment or an option writes it, and its value.
    (
        re.compile(
            r"""(?ix)
            (["']?(?:[a-z0-9_.-]*(?:password|passphrase|passwd|secret|api[_-]?key|access[_-]?key|private[_-]?key
            |encryptionsalt|token))["']?\s*[:=]\s*|--(?:api-key|token|password)[\s=]+)
            (?!\s*(?:null|none|true|false|\{|\[|"\s*"|\s*$))
            ("[^"\n]*"|'[^'\n]*'|[^\s,;}\]]+)
            """
        ),
        rf"\1{GONE}",
    ),
    (re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b"), "[hardware address]"),
    (re.compile(r"(/home/|/Users/|/mnt/c/Users/)[^/\s\"':]+"), r"\1USER"),
]


def redact(text: str, *, names: Sequence[str] = ()) -> str:
    """The text without keys, tokens, passwords, certificates, hardware addresses and home folders, and without `names`
    (this machine's and its user's). What is left out shows as [redacted].
    """
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    for name in names:
        if len(name) >= 3:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "NAME", text)
    return text
