package config

import (
	"maps"
	"reflect"
	"slices"
)

// An Effect says what a running capd does when a reload changes a setting.
type Effect string

// Effects, from the least to the most disruptive.
const (
	InPlace Effect = "in place" // the setting applies from now on
	Reopen  Effect = "re-open"  // the interface is opened again, with a new file; the old recorder reads its ring to the end
	Restart Effect = "restart"  // the setting applies after a restart
)

// A Key is a key of the file.
type Key struct {
	Table  string // empty: the top of the file
	Name   string
	Effect Effect
}

// Keys lists all keys by table and name. For [[interface]] it lists only the keys that exist
// nowhere else; an [[interface]] accepts the keys of Recording as well.
func Keys() []Key {
	var in struct {
		Name    string   `toml:"name" reload:"in place"`
		Exclude []string `toml:"exclude" reload:"in place"`
	}
	var all []Key
	for _, t := range []struct {
		name  string
		value any
	}{{"", Config{}}, {"retain", Retain{}}, {"index", Index{}}, {"encrypt", Encrypt{}}, {"seal", Seal{}}, {"finished", Finished{}}, {"control", Control{}}, {"log", Log{}}, {"interface", in}} {
		effects := effectsOf(reflect.TypeOf(t.value))
		for _, name := range slices.Sorted(maps.Keys(effects)) {
			all = append(all, Key{t.name, name, effects[name]})
		}
	}
	return all
}

// effectsOf returns the effects of a struct's fields by key, without fields that are tables.
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
func (i *Interface) Changes(next *Interface) []Key {
	all := changes("interface", i, next)
	if !slices.Equal(i.Recipients, next.Recipients) {
		all = append(all, Key{"encrypt", "recipients", Reopen})
	}
	return all
}

// Changes lists the keys outside of interfaces that have another value in next.
func (c *Config) Changes(next *Config) []Key {
	own := changes("", c, next)
	shared := effectsOf(reflect.TypeFor[Recording]()) // compared for each interface instead
	own = slices.DeleteFunc(own, func(k Key) bool { return shared[k.Name] != "" })
	return slices.Concat(own, changes("retain", &c.Retain, &next.Retain),
		changes("index", &c.Index, &next.Index), changes("encrypt", &c.Encrypt, &next.Encrypt), changes("seal", &c.Seal, &next.Seal), changes("finished", &c.Finished, &next.Finished), changes("control", &c.Control, &next.Control), changes("log", &c.Log, &next.Log))
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
