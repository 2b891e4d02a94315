package store

// Contents summarizes the capture files of a directory.
type Contents struct {
	Last     map[Lane]uint64 // highest sequence numbers
	Files    int             // the names as they are in the directory
	Partials []string        // names of unfinished files, as they are in the directory
}

// ReadContents lists a directory. It skips names that are not capture files'.
func ReadContents(dir string) (Contents, error) {
	d, err := Open(dir)
	if err != nil {
		return Contents{}, err
	}
	return d.Contents(), nil
}

// Contents summarizes the directory's present state.
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
