package config

import (
	"maps"
	"reflect"
	"slices"
)

// An Effect says what a running capd does about a setting that is another in
// the file that it reads again.
type Effect string

// Effects, from the least to the most.
const (
	InPlace Effect = "in place" // the setting holds from now on
	Reopen  Effect = "re-open"  // the interface is opened anew, with a new file, while the old one is still read
	Restart Effect = "restart"  // the setting holds from the next start on
)

// A Key is one of the file's.
type Key struct {
	Table  string // that it is in; empty is the top of the file
	Name   string
	Effect Effect
}

// Keys lists all keys by table and name. Those of an [[interface]] are its own
// alone: it takes the top's of Recording as well.
func Keys() []Key {
	var in struct {
		Name    string   `toml:"name" reload:"in place"`
		Exclude []string `toml:"exclude" reload:"in place"`
	}
	var all []Key
	for _, t := range []struct {
		name  string
		value any
	}{{"", Config{}}, {"retain", Retain{}}, {"finished", Finished{}}, {"control", Control{}}, {"log", Log{}}, {"interface", in}} {
		effects := effectsOf(reflect.TypeOf(t.value))
		for _, name := range slices.Sorted(maps.Keys(effects)) {
			all = append(all, Key{t.name, name, effects[name]})
		}
	}
	return all
}

// effectsOf returns the effects by key of a struct's fields, without those that
// are tables.
func effectsOf(t reflect.Type) map[string]Effect {
	all := make(map[string]Effect)
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			maps.Copy(all, effectsOf(f.Type))
		} else if effect, ok := f.Tag.Lookup("reload"); ok {
			all[f.Tag.Get("toml")] = Effect(effect)
		}
	}
	return all
}

// Changes lists the keys of the interface that have another value in next.
func (i *Interface) Changes(next *Interface) []Key { return changes("interface", i, next) }

// Changes lists the keys that are not of interfaces and have another value in
// next.
func (c *Config) Changes(next *Config) []Key {
	own := changes("", c, next)
	shared := effectsOf(reflect.TypeFor[Recording]()) // each interface has its own
	own = slices.DeleteFunc(own, func(k Key) bool { return shared[k.Name] != "" })
	return slices.Concat(own, changes("retain", &c.Retain, &next.Retain),
		changes("finished", &c.Finished, &next.Finished), changes("control", &c.Control, &next.Control), changes("log", &c.Log, &next.Log))
}

// changes compares two structs of one type.
func changes(table string, before, after any) []Key {
	a, b := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	effects := effectsOf(a.Type())
	old, now := fields(a), fields(b)
	var all []Key
	for _, name := range slices.Sorted(maps.Keys(effects)) {
		if !reflect.DeepEqual(old[name], now[name]) {
			all = append(all, Key{table, name, effects[name]})
		}
	}
	return all
}
