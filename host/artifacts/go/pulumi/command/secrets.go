package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

const (
	hidden = "[secret]"
	// A shorter value stands in many words by chance, and hiding it would tell where it does.
	shortest = 4
)

// hider makes the replacer that hides every secret string of the inputs, and each line of it, in a text. What a script
// said before is no input: it is secret as soon as any input is, and most of its lines are harmless.
func hider(properties ...resource.PropertyMap) *strings.Replacer {
	found := map[string]bool{}
	for _, one := range properties {
		for key, value := range one {
			if key != "stdout" && key != "stderr" {
				secretStrings(value, false, found)
			}
		}
	}
	// The longest first: what is a part of another must not leave the rest of that one in clear.
	values := slices.SortedFunc(maps.Keys(found), func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(values))
	for _, value := range values {
		pairs = append(pairs, value, hidden)
	}
	return strings.NewReplacer(pairs...)
}

func secretStrings(value resource.PropertyValue, secret bool, found map[string]bool) {
	switch {
	case value.IsSecret():
		secretStrings(value.SecretValue().Element, true, found)
	case value.IsOutput():
		secretStrings(value.OutputValue().Element, secret || value.OutputValue().Secret, found)
	case value.IsArray():
		for _, one := range value.ArrayValue() {
			secretStrings(one, secret, found)
		}
	case value.IsObject():
		for _, one := range value.ObjectValue() {
			secretStrings(one, secret, found)
		}
	case value.IsString() && secret:
		for _, text := range append(strings.Split(value.StringValue(), "\n"), value.StringValue()) {
			if text = strings.TrimSpace(text); len(text) >= shortest {
				found[text] = true
			}
		}
	}
}
