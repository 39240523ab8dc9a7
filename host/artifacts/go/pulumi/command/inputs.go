package main

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
)

// inputs are the properties of a Command with all marks (secret, output) taken off. Only outputs have stdout, stderr.
type inputs struct {
	Create, Update, Delete *string
	Dir, Stdin, Logging    string
	Interpreter            []string
	Environment            map[string]string
	AddPreviousOutputInEnv *bool
	Stdout, Stderr         string
}

func inputsOf(properties resource.PropertyMap) (inputs, error) {
	var found inputs
	read := properties.Copy()
	delete(read, "triggers") // of any kind, and no script sees them
	text, err := json.Marshal(plain(resource.NewProperty(read)))
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	return found, err
}

// plain is a value as JSON has it; what is not known yet is nil.
func plain(value resource.PropertyValue) any {
	switch {
	case value.IsSecret():
		return plain(value.SecretValue().Element)
	case value.IsOutput() && value.OutputValue().Known:
		return plain(value.OutputValue().Element)
	case value.IsOutput() || value.IsComputed():
		return nil
	case value.IsArray():
		made := []any{}
		for _, one := range value.ArrayValue() {
			made = append(made, plain(one))
		}
		return made
	case value.IsObject():
		made := map[string]any{}
		for key, one := range value.ObjectValue() {
			made[string(key)] = plain(one)
		}
		return made
	default:
		return value.V
	}
}

// kinds says of each input what it has to be, and tells whether a plain value is that.
var kinds = map[resource.PropertyKey]struct {
	name string
	fits func(any) bool
}{
	"create":                 {"a string", isString},
	"update":                 {"a string", isString},
	"delete":                 {"a string", isString},
	"dir":                    {"a string", isString},
	"stdin":                  {"a string", isString},
	"logging":                {"one of " + strings.Join(loggings, ", "), isLogging},
	"interpreter":            {"a list of strings", isStrings},
	"environment":            {"a map of strings", isStringMap},
	"triggers":               {"a list", isList},
	"addPreviousOutputInEnv": {"a boolean", isBool},
}

// check finds the inputs that a Command cannot have.
func check(properties resource.PropertyMap) []plugin.CheckFailure {
	var failures []plugin.CheckFailure
	for key, value := range properties {
		kind, known := kinds[key]
		if !known {
			failures = append(failures, plugin.CheckFailure{Property: key, Reason: standIn + " does not know it"})
		} else if value := plain(value); value != nil && !kind.fits(value) {
			failures = append(failures, plugin.CheckFailure{Property: key, Reason: "it must be " + kind.name})
		}
	}
	slices.SortFunc(failures, func(a, b plugin.CheckFailure) int {
		return strings.Compare(string(a.Property), string(b.Property))
	})
	return failures
}

var loggings = []string{"stdout", "stderr", "stdoutAndStderr", "none"}

func isString(value any) bool { _, fits := value.(string); return fits }
func isBool(value any) bool   { _, fits := value.(bool); return fits }
func isList(value any) bool   { _, fits := value.([]any); return fits }

func isLogging(value any) bool {
	text, fits := value.(string)
	return fits && slices.Contains(loggings, text)
}

func isStrings(value any) bool {
	list, fits := value.([]any)
	for _, one := range list {
		fits = fits && (one == nil || isString(one))
	}
	return fits
}

func isStringMap(value any) bool {
	object, fits := value.(map[string]any)
	for _, one := range object {
		fits = fits && (one == nil || isString(one))
	}
	return fits
}
