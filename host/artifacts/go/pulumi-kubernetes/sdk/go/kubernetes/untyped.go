// Package kubernetes has the one type that the provider takes from the top of the generated SDK.
package kubernetes

import "reflect"

// UntypedArgs are the properties of an object of any kind.
type UntypedArgs map[string]interface{}

// ElementType makes it an input of the Go SDK.
func (UntypedArgs) ElementType() reflect.Type { return reflect.TypeOf(map[string]interface{}{}) }
