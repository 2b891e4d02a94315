package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"capd/config"
	"capd/internal/text"
	"capd/seal"

	"github.com/spf13/cobra"
)

func newSeal() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Make the keys that seal recordings",
		Long:  `Make the keys with which capd seals what it records. "capd verify" verifies it.`,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("seal: no such command %q: there is \"capd seal init\"", args[0])}
			}
			return usageError{errors.New(`seal: say what: "capd seal init"`)}
		},
	}
	cmd.AddCommand(newSealInit())
	return cmd
}

func newSealInit() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the keys, and print the verification keys",
		Long: `Make a key for each directory that the configuration records into, in the folder
that keys in [seal] names, and print the verification keys. Where there is a key
already, its first verification key is printed and nothing is changed.

Who has a verification key can verify what was recorded, with "capd verify --key",
and can forge nothing: keep it away from this machine, and write its fingerprint
down. The key that signs never leaves this machine: it is replaced and wiped again
and again, as evolve in [seal] says.

Run it as root or as the user that records, before enabled = true in [seal]. As
root it gives the keys to the owner of the folder, and a folder that it makes to
the user of the configuration.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file)
			if err != nil {
				return fmt.Errorf("read configuration: %w", &configError{err, file})
			}
			keys, err := initSeal(cfg)
			if err != nil {
				return fmt.Errorf("seal: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), keys)
			}
			return printSealKeys(cmd.OutOrStdout(), keys)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", defaultConfig, "read the configuration from `FILE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// A sealKey is what seal init prints of a directory.
type sealKey struct {
	Directory   string `json:"directory"`
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	Created     bool   `json:"created"`
}

func initSeal(cfg *config.Config) ([]sealKey, error) {
	var dirs []string
	for i := range cfg.Interfaces {
		if dir := filepath.Clean(cfg.Interfaces[i].Directory); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		dirs = []string{cfg.Directory}
	}
	if err := makeKeys(cfg); err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	all := []sealKey{}
	for _, dir := range dirs {
		key, created, err := seal.Init(cfg.Seal.Keys, dir, host)
		if err != nil {
			return all, fmt.Errorf("directory %s: %w", dir, err)
		}
		all = append(all, sealKey{dir, key, seal.Fingerprint(key), created})
	}
	return all, nil
}

// makeKeys makes the folder of the keys. Files in it go to its owner: the user
// that records, if the configuration names one.
func makeKeys(cfg *config.Config) error {
	err := os.Mkdir(cfg.Seal.Keys, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	if cfg.User == "" {
		return nil
	}
	u, err := user.Lookup(cfg.User)
	if err != nil {
		u, err = user.LookupId(cfg.User)
	}
	if err != nil {
		return fmt.Errorf("user %s: %w", cfg.User, err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return os.Lchown(cfg.Seal.Keys, uid, gid)
}

func printSealKeys(w io.Writer, keys []sealKey) error {
	for i, k := range keys {
		if i > 0 {
			fmt.Fprintln(w)
		}
		how := "made"
		if !k.Created {
			how = "was there"
		}
		if _, err := fmt.Fprintf(w, "directory    %s (key %s)\nkey          %s\nfingerprint  %s\n", text.Name(k.Directory), how, k.Key, k.Fingerprint); err != nil {
			return err
		}
	}
	return nil
}
