// SPDX-License-Identifier: Apache-2.0

package walls

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sightglass/sightglass"

// below names, for each package of the house, the packages of the house that it may import; "x/..."
// stands for x and all under it. A package that is not named here inherits the nearest parent's line.
var below = map[string][]string{
	"handshake":        {},
	"record":           {"handshake", "internal/rc2", "record/internal/cpuid"},
	"keylog":           {"handshake"},
	"identity":         {"handshake"},
	"rsakex":           {"handshake", "keylog", "internal/rc2", "rsakex/internal/crt"},
	"session":          {"handshake", "record", "keylog", "identity", "rsakex"},
	"bpf":              {},
	"relay":            {"session", "identity", "rsakex", "keylog", "record", "handshake", "relay/..."},
	"relay/sock":       {},
	"relay/tproxy":     {"bpf/...", "relay/sock"},
	"capture":          {"session", "identity", "rsakex", "keylog", "record", "handshake", "capture/..."},
	"capture/pcapng":   {},
	"capture/afpacket": {"bpf/...", "capture/..."},
	// What comes out knows the events, and of the layers beneath only the words they are made of.
	"sink":    {"session", "handshake", "keylog", "sink/...", "internal/display"},
	"explain": {"session", "handshake", "explain/...", "internal/display"},
	// bpf: for the shunt, which capture only knows as an interface.
	"cmd": {"bpf", "relay/...", "capture/...", "sink/...", "explain/...", "session", "identity", "rsakex",
		"keylog", "handshake", "internal/..."},
	// Only the settings' words: causes and actions.
	"internal/config":  {"session"},
	"internal/display": {"handshake"},
	"internal/nettest": {},
	"internal/race":    {},
	"internal/rc2":     {},
	"internal/testsum": {},
	"internal/walls":   {},
}

// outside names the modules that only some packages may know.
var outside = map[string][]string{
	"github.com/gopacket/gopacket":    {"capture", "sink"},
	"github.com/cilium/ebpf":          {"bpf"},
	"github.com/google/nftables":      {"relay/tproxy", "internal/nettest"},
	"github.com/vishvananda/netlink":  {"relay/tproxy", "bpf", "internal/nettest"},
	"github.com/vishvananda/netns":    {"relay/tproxy", "bpf", "internal/nettest"},
	"github.com/mdlayher/netlink":     {"relay/tproxy", "bpf", "internal/nettest"},
	"github.com/spf13/cobra":          {"cmd"},
	"github.com/spf13/pflag":          {"cmd"},
	"github.com/pelletier/go-toml/v2": {"internal/config"},
}

// pure packages do no input or output of their own.
var pure = map[string][]string{
	"handshake": {"net", "os", "syscall", "log", "time"},
	"record":    {"net", "os", "syscall", "log", "time"},
	"session":   {"net", "os", "syscall", "log", "context"},
}

type sourceFile struct {
	pkg  string // the directory, relative to the module's root
	name string
	test bool
	ast  *ast.File
}

// sources parses every Go file of the module, whatever its build constraints.
func sources(t *testing.T) []sourceFile {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []sourceFile
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if os.IsNotExist(err) {
			return nil // made and removed by another test meanwhile
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		files = append(files, sourceFile{path.Dir(rel), rel, strings.HasSuffix(rel, "_test.go"), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func imports(f *ast.File) []string {
	var paths []string
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// nearest finds the line of pkg, or of its nearest parent that has one.
func nearest[V any](table map[string]V, pkg string) (V, bool) {
	for p := pkg; p != "." && p != "/"; p = path.Dir(p) {
		if v, ok := table[p]; ok {
			return v, true
		}
	}
	var zero V
	return zero, false
}

func allowed(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		dir, tree := strings.CutSuffix(p, "/...")
		return pkg == dir || tree && strings.HasPrefix(pkg, dir+"/")
	})
}

func under(dirs []string, pkg string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool {
		return pkg == d || strings.HasPrefix(pkg, d+"/")
	})
}

// TestImportsPointDown keeps the order of the house. Tests may look around.
func TestImportsPointDown(t *testing.T) {
	for _, f := range sources(t) {
		patterns, known := nearest(below, f.pkg)
		if f.test || !known {
			continue
		}
		for _, p := range imports(f.ast) {
			pkg, ours := strings.CutPrefix(p, module+"/")
			own := strings.HasPrefix(pkg, f.pkg+"/internal/")
			if ours && pkg != f.pkg && !own && !allowed(patterns, pkg) {
				t.Errorf("%s imports %s: not below %s", f.name, pkg, f.pkg)
			}
		}
	}
}

// TestEveryPackageHasItsPlace fails when a package is added that no wall knows.
func TestEveryPackageHasItsPlace(t *testing.T) {
	for _, f := range sources(t) {
		if _, known := nearest(below, f.pkg); known || strings.HasPrefix(f.pkg, "internal/") {
			continue
		}
		t.Errorf("%s: the package %s has no place in the house; give it one here and in the design", f.name, f.pkg)
	}
}

// TestOutsideModules keeps each dependency where it is needed. bpf's tests make their packets with
// gopacket.
func TestOutsideModules(t *testing.T) {
	for _, f := range sources(t) {
		for _, p := range imports(f.ast) {
			for mod, dirs := range outside {
				if p != mod && !strings.HasPrefix(p, mod+"/") || under(dirs, f.pkg) {
					continue
				}
				if f.test && f.pkg == "bpf" && mod == "github.com/gopacket/gopacket" {
					continue
				}
				t.Errorf("%s imports %s, which only %s may", f.name, p, strings.Join(dirs, ", "))
			}
		}
	}
}

// TestPurePackages keeps input, output and clocks out of the engine.
func TestPurePackages(t *testing.T) {
	for _, f := range sources(t) {
		banned, isPure := pure[f.pkg]
		if f.test || !isPure {
			continue
		}
		for _, p := range imports(f.ast) {
			if slices.Contains(banned, p) {
				t.Errorf("%s imports %s: the package does no input or output", f.name, p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", f.name)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Now" {
					t.Errorf("%s reads the clock", f.name)
				}
			}
			return true
		})
	}
}
