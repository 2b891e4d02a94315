// Times are microseconds since 1970: a number has them to the year 2255.
export function parse(s) {
	const m = /^(.*?)(?:\.(\d+))?Z$/.exec(s);
	return Date.parse(m[1] + "Z") * 1000 + Number(((m[2] || "") + "000000").slice(0, 6));
}

export function spell(us) {
	us = Math.round(us);
	const second = Math.floor(us / 1e6);
	const rest = us - second * 1e6;
	const s = new Date(second * 1000).toISOString().slice(0, 19);
	return rest ? `${s}.${String(rest).padStart(6, "0")}Z` : s + "Z";
}

// clock spells a time as short as a span of so many microseconds needs it.
export function clock(us, span) {
	const s = spell(us);
	const [day, time] = [s.slice(0, 10), s.slice(11, -1)];
	if (span > 2 * 86400e6) {
		return day.slice(5) + " " + time.slice(0, 5);
	}
	if (span > 600e6) {
		return time.slice(0, 5);
	}
	const digits = span > 5e6 ? 0 : span > 5e3 ? 3 : 6;
	const [whole, fraction = ""] = time.split(".");
	return digits ? whole + "." + fraction.padEnd(6, "0").slice(0, digits) : whole;
}

export function duration(us) {
	for (const [unit, size] of [["d", 86400e6], ["h", 3600e6], ["min", 60e6], ["s", 1e6], ["ms", 1e3]]) {
		if (us >= size) {
			return +(us / size).toPrecision(4) + " " + unit;
		}
	}
	return Math.round(us) + " µs";
}

export function count(n) {
	return Math.round(n).toLocaleString("en").replaceAll(",", " ");
}

export function size(n) {
	const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
	let i = 0;
	while (n >= 1024 && i < units.length - 1) {
		n /= 1024;
		i++;
	}
	return (i ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}
