package metrics

import (
	"capd/internal/control"

	"github.com/prometheus/client_golang/prometheus"
)

// families are all metrics. docs/metrics.md lists them.
type families struct {
	build, start                                 *prometheus.Desc
	received, packets, pending, bytes            *prometheus.Desc
	nic, discarded, truncated, oversized         *prometheus.Desc
	freezes, waits                               *prometheus.Desc
	files, fileBytes, failures                   *prometheus.Desc
	state, since, lastLoss, xdp                  *prometheus.Desc
	ring, ringHigh, ringSize                     *prometheus.Desc
	pool, poolHigh, poolSize                     *prometheus.Desc
	writes, syncs                                *prometheus.Desc
	keptFiles, keptBytes, keptHeld, oldest       *prometheus.Desc
	keptRate, reach                              *prometheus.Desc
	dirFiles, dirBytes, dirHeld, dirFree, dirAll *prometheus.Desc
	dirFreeInodes, dirInodes                     *prometheus.Desc
	dirHeldBytes, dirHeldWarning                 *prometheus.Desc
	floor, yielding                              *prometheus.Desc
	deleted, deletedBytes                        *prometheus.Desc
}

func newFamilies(desc func(name, help string, labels ...string) *prometheus.Desc) families {
	iface := func(name, help string, more ...string) *prometheus.Desc {
		return desc(name, help, append([]string{"interface"}, more...)...)
	}
	dir := func(name, help string) *prometheus.Desc { return desc(name, help, "directory") }
	return families{
		build: desc("build_info", "Always 1; the labels say which capd runs.", "version", "goversion"),
		start: desc("start_time_seconds", "When capd was started, in seconds since 1970."),

		received:  iface("received_packets_total", "Frames that the kernel met, dropped or not."),
		packets:   iface("packets_total", "Frames that the kernel met, by what became of them.", "outcome"),
		pending:   iface("pending_packets", "Frames in memory on their way to the disk."),
		bytes:     iface("bytes_total", "Bytes captured of the frames taken from the kernel."),
		nic:       iface("nic_dropped_packets_total", "Frames that were lost before the kernel met them."),
		discarded: iface("nic_discarded_packets_total", "Frames that the interface's statistics call dropped, recorded or not: no loss."),
		truncated: iface("truncated_packets_total", "Frames that were cut."),
		oversized: iface("oversized_packets_total", "Frames that were cut though the snaplen did not ask for it."),
		freezes:   iface("ring_freezes_total", "Times that the kernel's ring was full."),
		waits:     iface("pool_waits_total", "Times that frames stayed in the ring because the disk was too slow."),
		files:     iface("files_total", "Files finished."),
		fileBytes: iface("file_bytes_total", "Bytes of finished files."),
		failures:  iface("file_failures_total", "Files that could not be finished."),

		state:    iface("interface_state", "1 for the state that the interface is in, 0 for the others.", "state"),
		since:    iface("interface_state_since_timestamp_seconds", "When the state began, in seconds since 1970."),
		lastLoss: iface("last_loss_timestamp_seconds", "When frames were last lost, or not kept whole, in seconds since 1970; 0: never since the start."),
		xdp:      iface("interface_xdp_attached", "1 while an XDP program sees the interface's frames before capd, else 0."),
		ring:     iface("ring_fill_ratio", "How full the fullest ring of the kernel is, 0 to 1."),
		ringHigh: iface("ring_fill_high_ratio", "Highest ring_fill_ratio since the start, sampled once a second."),
		ringSize: iface("ring_size_bytes", "Memory of the kernel's rings."),
		pool:     iface("pool_fill_ratio", "How full the fullest pool of memory is, 0 to 1."),
		poolHigh: iface("pool_fill_high_ratio", "Highest pool_fill_ratio since the start."),
		poolSize: iface("pool_size_bytes", "Memory of the pools."),
		writes:   iface("disk_write_duration_seconds", "How long writes to the disk took."),
		syncs:    iface("disk_sync_duration_seconds", "How long syncs of files and directories took."),

		keptFiles: iface("kept_files", "Finished files that the directory holds of the interface."),
		keptBytes: iface("kept_bytes", "Bytes on disk of all files of the interface."),
		keptHeld:  iface("held_files", "Files that limits may not delete."),
		oldest:    iface("oldest_file_timestamp_seconds", "Begin of the oldest file, in seconds since 1970; 0: there is none."),
		keptRate:  iface("kept_bytes_per_second", "How fast the interface has recently filled the disk; absent while that is not known."),
		reach:     iface("retention_reach_seconds", "How far back the files will reach at that rate; absent without a limit, and while no rate is known.", "limit"),

		dirFiles:       dir("directory_files", "Finished files in the directory."),
		dirBytes:       dir("directory_bytes", "Bytes on disk of all files in the directory."),
		dirHeld:        dir("directory_held_files", "Files in the directory that limits may not delete."),
		dirHeldBytes:   dir("directory_held_bytes", "Bytes of the files in the directory that limits may not delete; without those that are leased."),
		dirHeldWarning: dir("directory_held_warning", "1 while held files take more than hold_warn, or keep a limit from being met, else 0."),
		dirFree:        dir("filesystem_free_bytes", "Bytes that are free on the directory's file system."),
		dirAll:         dir("filesystem_size_bytes", "Bytes of the directory's file system."),
		dirFreeInodes:  dir("filesystem_free_inodes", "Inodes that are free on the directory's file system."),
		dirInodes:      dir("filesystem_inodes", "Inodes of the directory's file system; absent where it has no such limit."),
		floor:          dir("retention_floor_reached", "1 while keep_bytes, keep_age or keep_count protects files that other limits would delete, else 0."),
		yielding:       dir("retention_yielding_files", "Files that limits would delete, but keep_until protects until a step has succeeded."),
		deleted:        dir("deleted_files_total", "Files that limits deleted."),
		deletedBytes:   dir("deleted_bytes_total", "Bytes of the files that limits deleted."),
	}
}

func (f *families) traffic(out sink, i *control.Interface) {
	out.counter(f.received, float64(i.Received), i.Name)
	out.counter(f.packets, float64(i.Written), i.Name, "written")
	out.counter(f.packets, float64(i.KernelDropped), i.Name, "kernel_dropped")
	out.counter(f.packets, float64(i.CapdDropped), i.Name, "capd_dropped")
	out.gauge(f.pending, float64(i.Pending), i.Name)
	out.counter(f.bytes, float64(i.Bytes), i.Name)
	out.counter(f.nic, float64(i.NICDropped), i.Name)
	out.counter(f.discarded, float64(i.NICDiscarded), i.Name)
	out.counter(f.truncated, float64(i.Truncated), i.Name)
	out.counter(f.oversized, float64(i.Oversized), i.Name)
	out.counter(f.freezes, float64(i.Freezes), i.Name)
	out.counter(f.waits, float64(i.Waits), i.Name)
	out.counter(f.files, float64(i.Finished), i.Name)
	out.counter(f.fileBytes, float64(i.FileBytes), i.Name)
	out.counter(f.failures, float64(i.Failures), i.Name)
}

func (f *families) condition(out sink, i *control.Interface) {
	for _, state := range []string{control.Recording, control.Waiting, control.Down, control.Suspended, control.Ended} {
		out.gauge(f.state, one(i.State == state), i.Name, state)
	}
	out.gauge(f.since, seconds(i.Since), i.Name)
	out.gauge(f.lastLoss, seconds(i.LastLoss), i.Name)
	out.gauge(f.xdp, one(i.XDP != ""), i.Name)
	out.gauge(f.ring, i.Ring.Now, i.Name)
	out.gauge(f.ringHigh, i.Ring.High, i.Name)
	out.gauge(f.ringSize, float64(i.Ring.Size), i.Name)
	out.gauge(f.pool, i.Pool.Now, i.Name)
	out.gauge(f.poolHigh, i.Pool.High, i.Name)
	out.gauge(f.poolSize, float64(i.Pool.Size), i.Name)
	out.histogram(f.writes, &i.Writes, i.Name)
	out.histogram(f.syncs, &i.Syncs, i.Name)
}

func (f *families) kept(out sink, i *control.Interface) {
	k := &i.Kept
	out.gauge(f.keptFiles, float64(k.Files), i.Name)
	out.gauge(f.keptBytes, float64(k.Bytes), i.Name)
	out.gauge(f.keptHeld, float64(k.Held), i.Name)
	out.gauge(f.oldest, seconds(k.Oldest), i.Name)
	if k.Rate > 0 {
		out.gauge(f.keptRate, k.Rate, i.Name)
	}
	if k.Rate > 0 && k.Limit != "" {
		out.gauge(f.reach, k.Reach, i.Name, k.Limit)
	}
}

func (f *families) directory(out sink, d *control.Directory) {
	out.gauge(f.dirFiles, float64(d.Files), d.Path)
	out.gauge(f.dirBytes, float64(d.Bytes), d.Path)
	out.gauge(f.dirHeld, float64(d.Held), d.Path)
	out.gauge(f.dirHeldBytes, float64(d.Holds.Bytes), d.Path)
	out.gauge(f.dirHeldWarning, one(d.Holds.Over || d.Holds.Limit != ""), d.Path)
	out.gauge(f.floor, one(d.Floor), d.Path)
	kept := 0
	for _, w := range d.Waiting {
		kept += w.Kept
	}
	out.gauge(f.yielding, float64(kept), d.Path)
	out.counter(f.deleted, float64(d.Deleted), d.Path)
	out.counter(f.deletedBytes, float64(d.DeletedBytes), d.Path)
	if d.Total > 0 {
		out.gauge(f.dirFree, float64(d.Free), d.Path)
		out.gauge(f.dirAll, float64(d.Total), d.Path)
	}
	if d.Inodes > 0 {
		out.gauge(f.dirFreeInodes, float64(d.FreeInodes), d.Path)
		out.gauge(f.dirInodes, float64(d.Inodes), d.Path)
	}
}

// one returns 1 for true and 0 for false.
func one(so bool) float64 {
	if so {
		return 1
	}
	return 0
}
