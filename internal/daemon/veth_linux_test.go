package daemon

import (
	"net"
	"os"
	"testing"

	"capd/internal/testdisk"
	"capd/internal/testnet"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := testdisk.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

// veths are pairs of interfaces in a network namespace of the tests.
type veths struct{ t *testing.T }

func newVeths(t *testing.T) network {
	testnet.Need(t)
	return veths{t}
}

func (n veths) system() System { return nil }
func (n veths) pace()          {}

func (n veths) add(name string) wire {
	n.t.Helper()
	testnet.Veth(n.t, "to-"+name, name, 65535)
	return &veth{Sender: testnet.NewSender(n.t, "to-"+name), t: n.t, name: name, peer: "to-" + name}
}

type veth struct {
	*testnet.Sender
	t          *testing.T
	name, peer string
}

func (w *veth) Rename(to string) {
	testnet.Rename(w.t, w.name, to)
	w.name = to
}

func (w *veth) AddAltName(name string)    { testnet.AddAltName(w.t, w.name, name) }
func (w *veth) RemoveAltName(name string) { testnet.RemoveAltName(w.t, w.name, name) }

func (w *veth) SetUp(up bool) {
	testnet.SetUp(w.t, w.name, up)
	if up {
		testnet.Await(w.t, w.peer)
	}
}

func (w *veth) SetAddress(addr net.HardwareAddr) { testnet.SetAddress(w.t, w.name, addr) }
func (w *veth) Index() int                       { return testnet.Index(w.t, w.name) }

func (w *veth) Remove() {
	w.Close()
	testnet.Remove(w.t, w.name)
}
