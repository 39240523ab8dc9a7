"""Builds of Go modules: caches of their own that go afterwards, nothing built twice, and no more memory than
there is.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from host.artifacts import go_budget, go_modules, go_toolchain
from host.artifacts.go_modules import GoModule
from host.system import files
from stacks.errors import HostError
from tests.conftest import ROOT
from tests.support.expected_commands import Call, expect


class Killed(BaseException):
    """As good as kill -9: nothing that the program wrote for failures runs to its end."""


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processors, 32 GiB, and a Go."""
    monkeypatch.setattr(go_budget, "processors", lambda: 8)
    monkeypatch.setattr(go_budget, "free_gib", lambda: 32.0)
    monkeypatch.setattr(go_toolchain, "find", lambda _cache, minimum: "/go")


def _module(folder: Path, programs: dict[str, str], **more: Any) -> GoModule:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text("module example.org/x\n\ngo 1.26.3\n\nrequire example.org/other v1.2.3\n")
    (folder / "go.sum").write_text("")
    return GoModule(folder, programs, "1.0", **more)


def _compile(words: list[str], _named: dict[str, Any]) -> None:
    Path(words[words.index("-o") + 1]).write_text("program")


def _kill(_words: list[str], _named: dict[str, Any]) -> None:
    raise Killed


def _built(program: str) -> Call:
    return Call(["setpriv", "/go", "build", "-o", f".{program}.partial"], _compile)


def test_every_program_is_built_once_and_the_caches_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, cache = _module(tmp_path / "mod", {"a": "example.org/a", "b": "example.org/b"}), tmp_path / "cache"
    seen = {}

    def compiled(words: list[str], named: dict[str, Any]) -> None:
        _compile(words, named)
        seen.update(named["environment"])
        (Path(named["environment"]["GOCACHE"])).mkdir(exist_ok=True)

    expected = expect(monkeypatch, Call(["build", ".a.partial", "example.org/a"], compiled), _built("b"))
    assert go_modules.built(module, cache) is None
    folder = go_modules.build(module, cache)
    expected.done()
    assert sorted(p.name for p in folder.iterdir()) == ["a", "b"]
    own = [seen[name] for name in ("GOPATH", "GOCACHE", "GOMODCACHE", "GOTMPDIR")]
    assert all(path.startswith(str(cache / "go" / folder.name)) for path in own)
    assert "-modcacherw" in seen["GOFLAGS"]
    assert [p for p in (cache / "go").iterdir() if p.is_dir()] == []
    assert go_modules.built(module, cache) == folder
    assert go_modules.build(module, cache) == folder


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, cache = _module(tmp_path / "mod", {"a": "example.org/a", "b": "example.org/b"}), tmp_path / "cache"
    expect(monkeypatch, _built("a"), Call(["build"], _kill))
    with pytest.raises(Killed):
        go_modules.build(module, cache)
    assert go_modules.built(module, cache) is None
    (caches,) = (p for p in (cache / "go").iterdir() if p.is_dir())
    (caches / "build").mkdir()
    (caches / "tmp" / "half").mkdir()

    def resumed(words: list[str], named: dict[str, Any]) -> None:
        assert Path(named["environment"]["GOCACHE"]).is_dir()
        assert not (caches / "tmp" / "half").exists()
        _compile(words, named)

    expected = expect(monkeypatch, Call(["build", ".b.partial"], resumed))
    go_modules.build(module, cache)
    expected.done()
    assert not caches.exists()


def test_caches_that_a_kill_left_beside_finished_programs_go_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, cache = _module(tmp_path / "mod", {"a": "example.org/a"}), tmp_path / "cache"
    expect(monkeypatch, _built("a"))
    left = cache / "go" / go_modules.build(module, cache).name / "mod"
    left.mkdir(parents=True)
    go_modules.build(module, cache)
    assert not left.parent.exists()


def test_modules_that_are_built_together_share_their_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _module(tmp_path / "mod", {"a": "example.org/a"}, name="one")
    two = _module(tmp_path / "mod", {"b": "example.org/b"}, name="two")
    used = []

    def compiled(words: list[str], named: dict[str, Any]) -> None:
        used.append(named["environment"]["GOCACHE"])
        _compile(words, named)

    expect(monkeypatch, Call(["build"], compiled), Call(["build"], _kill))
    with pytest.raises(Killed):
        go_modules.build_together([one, two], tmp_path)
    assert Path(used[0]).parent.is_dir()
    assert go_modules.built(one, tmp_path)
    expect(monkeypatch, Call(["build"], compiled))
    go_modules.build_together([one, two], tmp_path)
    assert used[0] == used[1]
    assert not Path(used[0]).parent.exists()


def test_what_a_killed_build_of_an_older_recipe_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, caches = _module(tmp_path / "mod", {"a": "example.org/a"}), tmp_path / "go"
    old, busy, other = (caches / f"{name}-0.9-{'0' * 11}{n}" for name, n in (("mod", 1), ("mod", 2), ("mod-other", 3)))
    for folder in (old, busy, other):
        folder.mkdir(parents=True)
    expect(monkeypatch, _built("a"))
    with files.lock(busy.with_name(f".{busy.name}.lock"), what="another build"):
        go_modules.build(module, tmp_path)
    assert [p.exists() for p in (old, busy, other)] == [False, True, True]


def test_files_of_other_modules_are_put_into_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(tmp_path / "mod", {"a": "./sub"}, embeds={"sub/script": ("example.org/other", "python/script.py")})
    (module.folder / "sub").mkdir()
    (module.folder / "sub" / "main.go").write_text("package main")
    (tmp_path / "other" / "python").mkdir(parents=True)
    (tmp_path / "other" / "python" / "script.py").write_text("theirs")

    def compiled(words: list[str], named: dict[str, Any]) -> None:
        assert (named["cwd"] / "sub" / "script").read_text() == "theirs"
        assert (named["cwd"] / "sub" / "main.go").exists()
        _compile(words, named)

    found = f'{{"Dir": "{tmp_path}/other"}}'
    expected = expect(
        monkeypatch, Call(["mod", "download", "-json", "example.org/other"], output=found), Call(["build"], compiled)
    )
    go_modules.build(module, tmp_path / "cache")
    expected.done()
    assert not (module.folder / "sub" / "script").exists()


def test_a_recipe_is_about_what_goes_into_the_programs(tmp_path: Path) -> None:
    module = _module(tmp_path / "mod", {"a": "example.org/a"})
    local = GoModule(module.folder, {"b": "./sub"}, "1.0")
    recipes = module.recipe(), local.recipe()
    (module.folder / "sub").mkdir()
    (module.folder / "sub" / "main.go").write_text("package main")
    assert module.recipe() == recipes[0]
    assert local.recipe() != recipes[1]
    embedding = GoModule(module.folder, {"b": "./sub"}, "1.0", embeds={"sub/script": ("example.org/other", "script")})
    assert len({local.recipe(), embedding.recipe(), GoModule(module.folder, {"b": "."}, "1.0").recipe()}) == 3
    (module.folder / "go.mod").write_text("module example.org/y\n")
    assert module.recipe() != recipes[0]


def test_the_version_of_a_required_module_is_read_from_go_mod(tmp_path: Path) -> None:
    module = _module(tmp_path / "mod", {"a": "example.org/a"})
    assert module.required("example.org/other") == "v1.2.3"
    with pytest.raises(HostError, match=r"does not require example.org/oth$"):
        module.required("example.org/oth")


def test_who_waits_for_another_run_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = _module(tmp_path / "mod", {"a": "example.org/a"})
    expect(monkeypatch, _built("a"))
    told = threading.Event()
    monkeypatch.setattr(go_budget, "_TICK_SECONDS", 0.001)
    monkeypatch.setattr(go_budget, "_progress", lambda _passed, _expected: told.set() or "as long as that")
    caches = tmp_path / "go" / go_modules._target(module, tmp_path).name
    with files.lock(caches.with_name(f".{caches.name}.lock"), what="the other run"):
        run = threading.Thread(target=go_modules.build, args=(module, tmp_path))
        run.start()
        assert told.wait(60)
        assert go_modules.built(module, tmp_path) is None
    run.join(60)
    assert go_modules.built(module, tmp_path)
    said = capsys.readouterr().err
    assert "> waiting for the build of mod 1.0 in another run ..." in said
    assert "  waiting for the build of mod 1.0: as long as that\n" in said


def test_the_progress_of_a_build_says_what_was_expected() -> None:
    assert go_budget._progress(20, 300) == "20 s, of about 300 s"
    assert go_budget._progress(310, 300) == "310 s, longer than the 300 s it takes alone"
    assert go_budget._progress(20, None) == "20 s"
    assert go_budget.estimate("pulumi", 2) == go_budget.COSTS["pulumi"].cpu_seconds / 2


@pytest.mark.parametrize(("free", "at_once"), [(32.0, 8), (8.0, 4), (5.0, 2), (2.0, 1)])
def test_as_many_compiles_at_once_as_the_memory_carries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, at_once: int
) -> None:
    monkeypatch.setattr(go_budget, "free_gib", lambda: free)

    def compiled(words: list[str], named: dict[str, Any]) -> None:
        assert f"-p={at_once} " in named["environment"]["GOFLAGS"]
        _compile(words, named)

    expect(monkeypatch, Call(["build"], compiled))
    go_modules.build(_module(tmp_path / "mod", {"pulumi": "example.org/a"}), tmp_path / "cache")


def test_without_the_memory_for_one_compile_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_budget, "free_gib", lambda: 1.5)
    expect(monkeypatch)
    with pytest.raises(HostError, match=r"building pulumi takes 1\.9 GiB of memory, 1\.5 GiB are free"):
        go_modules.build(_module(tmp_path / "mod", {"pulumi": "example.org/a"}), tmp_path / "cache")


def test_every_program_that_is_built_has_a_measured_cost() -> None:
    from host.artifacts import pulumi_modules
    from host.artifacts.images import static
    from host.drivers.embedded import parts
    from tests.host.test_embedded_configs import plan
    from tests.support import translated

    cluster = parts.modules(plan(network_policies="v0.8.0")).values()
    own = [*(image.module for image in static.ALL.values()), translated.TRANSLATOR]
    modules = [*cluster, *pulumi_modules.MODULES, *own]
    assert {name for module in modules for name in module.programs} == set(go_budget.COSTS)


def test_the_recipes_of_the_cluster_s_programs_do_not_depend_on_how_they_are_built() -> None:
    """Whoever has built them already need not do it again."""
    folder = ROOT / "host" / "drivers" / "embedded" / "go" / "kubernetes"
    assert [p.name for p in GoModule(folder, {"kubectl": "k8s.io/kubernetes/cmd/kubectl"}, "v1")._sources()] == [
        "go.mod",
        "go.sum",
    ]
