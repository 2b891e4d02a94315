package web

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

const openapi = "../../docs/openapi.json"

// meanings are those of the parameters.
var meanings = map[string]string{
	"since":     "no packet is older: a time of RFC 3339, up to nanoseconds",
	"until":     "all packets are older",
	"interface": "only what was recorded of this interface; may repeat",
	"filter":    "an expression of pcap-filter(7) that packets pass",
	"flow":      "only packets of this flow: two ends and perhaps a protocol, as 10.1.2.3:40000 10.9.8.7:443 tcp; may repeat",
	"id":        "only packets of the flow with this Community ID; may repeat",
	"bins":      "how many bins the time has, 1 to 4000; 600",
	"by":        "what flows are ordered by: bytes or packets; bytes",
	"group":     "what flows are summed up by: flows, hosts, ports or protocols; flows",
	"offset":    "how many lines are left out, 100000 at most; 0",
	"limit":     "how many lines are given at most, 1 to 1000; 100",
	"detail":    "1 gives layers and bytes of packets too; 0",
}

// questions says what each question is, and has what is answered.
var questions = map[string]struct {
	says   string
	answer any
}{
	"GET /v1/info":                {"what the page is about", info{}},
	"GET /v1/timeline":            {"packets and bytes bin by bin, and what is to be said of the time", timeline{}},
	"GET /v1/flows":               {"flows, or what they have in common, those with the most first", flows{}},
	"GET /v1/packets":             {"packets in order of time, decoded", packets{}},
	"GET /v1/filter":              {"checks parameters, and gives the command line that gives the same packets", command{}},
	"GET /v1/files":               {"files in order of time", files{}},
	"GET /v1/ledger":              {"the newest lines of the ledgers", lines{}},
	"POST /v1/downloads":          {"prepares a download, for a browser", ticket{}},
	"GET /v1/downloads/{id}":      {"waits for the end of a download, and gives what came of it", answered{}},
	"GET /v1/downloads/{id}/file": {"the file of a download, once, without a token", nil},
	"GET /v1/extract":             {"streams the packets as pcapng; the trailer Capd-Verdict and the last block of the file have the verdict", nil},
	"POST /v1/session":            {"takes the token of the address, once, and gives that of the session", session{}},
}

type object = map[string]any

// described is what docs/openapi.json is to have.
func described(t *testing.T) []byte {
	takes := map[string][]string{"GET /v1/extract": ofQuestion}
	for _, r := range routes {
		key := r.method + " " + r.path
		takes[key] = r.takes
		if _, ok := questions[key]; !ok {
			t.Errorf("%s is not described", key)
		}
	}
	paths := object{}
	for key, q := range questions {
		method, path, _ := strings.Cut(key, " ")
		var parameters []object
		if strings.Contains(path, "{id}") {
			parameters = append(parameters, object{"name": "id", "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		for _, name := range takes[key] {
			if meanings[name] == "" {
				t.Errorf("parameter %s has no meaning", name)
			}
			parameters = append(parameters, object{"name": name, "in": "query", "description": meanings[name], "schema": object{"type": "string"}})
		}
		content := object{"application/x-pcapng": object{"schema": object{"type": "string", "format": "binary"}}}
		if q.answer != nil {
			content = object{"application/json": object{"schema": schema(reflect.TypeOf(q.answer))}}
		}
		operation := object{"summary": q.says, "responses": object{
			"200":     object{"description": "the answer", "content": content},
			"default": object{"description": "why there is none", "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Failure"}}}},
		}}
		if len(parameters) > 0 {
			operation["parameters"] = parameters
		}
		if strings.HasSuffix(path, "/file") {
			operation["security"] = []object{}
		}
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(method)] = operation
	}
	b, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info":    object{"title": "capd web", "version": "1", "description": "The API below the page of capd web: docs/api.md"},
		"paths":   paths, "security": []object{{"token": []string{}}},
		"components": object{
			"schemas":         object{"Failure": schema(reflect.TypeFor[failure]())},
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
		},
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// schema describes what encoding/json makes of a type.
func schema(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[[]byte]():
		return object{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		return object{"type": "array", "items": schema(t.Elem())}
	case reflect.Struct:
		fields := object{}
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous || !f.IsExported() || name == "-" || name == "" {
				continue
			}
			fields[name] = schema(f.Type)
		}
		return object{"type": "object", "properties": fields}
	}
	return object{"type": "integer"}
}

// TestOpenAPI: docs/openapi.json has the questions that the server answers, their parameters and answers.
func TestOpenAPI(t *testing.T) {
	want := described(t)
	if *update {
		if err := os.WriteFile(openapi, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(openapi)
	if err != nil || string(got) != string(want) {
		t.Errorf("docs/openapi.json is old (%v): go test ./internal/web -run OpenAPI -update", err)
	}
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for key := range questions {
		if !strings.Contains(string(doc), "`"+key) {
			t.Errorf("docs/api.md lacks %s", key)
		}
	}
	for name := range meanings {
		if !strings.Contains(string(doc), "`"+name) {
			t.Errorf("docs/api.md lacks the parameter %s", name)
		}
	}
}

// TestServerIsAsDescribed asks each question that docs/openapi.json has: it is there, takes its parameters and no other, and
// answers with what is described.
func TestServerIsAsDescribed(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
			Responses  map[string]struct {
				Content map[string]struct{ Schema object }
			}
		}
	}
	b, err := os.ReadFile(openapi)
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, _ := open(t, Config{Directories: []string{office(t)}})
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			if strings.Contains(path, "{id}") || path == "/v1/session" {
				continue // TestDownload, TestOnceOnly
			}
			resp := c.send(strings.ToUpper(method), path, nil)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s %s: %s", method, path, resp.Status)
			}
			kind := resp.Header.Get("Content-Type")
			content, ok := operation.Responses["200"].Content[kind]
			if !ok {
				t.Errorf("%s %s answers with %s", method, path, kind)
			}
			if kind == "application/json" {
				var got any
				if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
					t.Fatal(err)
				}
				for _, wrong := range differences(path, got, content.Schema) {
					t.Error(wrong)
				}
			}
			var known []string
			for _, p := range operation.Parameters {
				known = append(known, p.Name)
			}
			for name := range meanings {
				status := c.send(strings.ToUpper(method), path+"?"+name+"=", nil).StatusCode
				if slices.Contains(known, name) != (status == http.StatusOK) {
					t.Errorf("%s %s?%s=: %d", method, path, name, status)
				}
			}
		}
	}
}

// differences says what of a value a schema does not have.
func differences(at string, v any, s object) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		fields, _ := s["properties"].(map[string]any)
		for name, x := range v {
			f, ok := fields[name].(map[string]any)
			if !ok {
				all = append(all, at+"."+name+" is not described")
				continue
			}
			all = append(all, differences(at+"."+name, x, f)...)
		}
	case []any:
		items, _ := s["items"].(map[string]any)
		for _, x := range v {
			all = append(all, differences(at+"[]", x, items)...)
		}
	case string, bool, float64:
		want := fmt.Sprint(s["type"])
		kind := map[string]string{"string": "string", "bool": "boolean", "float64": "number"}[reflect.TypeOf(v).String()]
		if want != kind && !(want == "integer" && kind == "number") {
			all = append(all, fmt.Sprintf("%s is %v, and described as %s", at, v, want))
		}
	}
	return all
}
