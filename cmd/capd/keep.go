package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"capd/config"
)

// A keepFlag is the value of --keep: limits of what is kept of each interface. Zero is no limit.
type keepFlag struct {
	count int
	size  config.Size
	age   config.Duration
}

// Set reads a number of files, a size or an age. Each may be given besides the others.
func (k *keepFlag) Set(s string) error {
	if n, err := strconv.Atoi(s); err == nil {
		if n <= 0 {
			return errors.New("keep one file at least")
		}
		k.count = n
		return nil
	}
	var age config.Duration
	if err := age.Set(s); err == nil {
		if age <= 0 {
			return errors.New("an age is above 0")
		}
		k.age = age
		return nil
	}
	var size config.Size
	if err := size.Set(s); err != nil {
		return errors.New("write a number of files, as 10, a size, as 20GiB, or an age, as 7d")
	}
	if size <= 0 {
		return errors.New("a size is above 0")
	}
	k.size = size
	return nil
}

// String lists the limits.
func (k *keepFlag) String() string {
	var all []string
	if k.count > 0 {
		all = append(all, strconv.Itoa(k.count))
	}
	if k.size > 0 {
		all = append(all, k.size.String())
	}
	if k.age > 0 {
		all = append(all, time.Duration(k.age).String())
	}
	return strings.Join(all, ", ")
}

// Type names the type in the usage of flags.
func (k *keepFlag) Type() string { return "limit" }
