package store

// Contents sums up what a directory holds of capd's.
type Contents struct {
	Last     map[Lane]uint64 // highest sequence numbers
	Files    int             // finished files
	Partials []string        // names of unfinished files, as they are in the directory
}

// ReadContents lists a directory. Names that are not capd's are passed over.
func ReadContents(dir string) (Contents, error) {
	d, err := Open(dir)
	if err != nil {
		return Contents{}, err
	}
	return d.Contents(), nil
}

// Contents sums up what the directory holds now.
func (d *Directory) Contents() Contents {
	c := Contents{Last: make(map[Lane]uint64)}
	for f := range d.All() {
		if f.HasData() {
			c.Files++
		}
	}
	for _, n := range d.Partials() {
		c.Partials = append(c.Partials, n.String()+Partial)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for lane, n := range d.last {
		c.Last[lane] = n
	}
	return c
}
