package main

import (
	"errors"

	"capd/crypt"

	"github.com/spf13/cobra"
)

// identityHelp is in the help of each command that reads encrypted files.
const identityHelp = `--identity names a file with private keys that decrypt encrypted files: of age-keygen, or a
private key of OpenSSH (ed25519, rsa) without a passphrase. It may repeat. It is read before
anything else, and never leaves this machine.`

// An identityFlag names files of private keys.
type identityFlag struct{ paths []string }

func (i *identityFlag) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&i.paths, "identity", nil, "decrypt encrypted files with the private keys in `FILE`; may repeat")
}

// read returns the keys.
func (i *identityFlag) read() (crypt.Identities, error) { return crypt.ReadIdentities(i.paths) }

// errRemoteIdentity is returned for --identity with --host.
var errRemoteIdentity = usageError{errors.New("extract: --identity stays on this machine, and --host reads files on another one: give --identity there, or copy the files here")}
