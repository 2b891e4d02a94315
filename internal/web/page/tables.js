// Tables and packets.
import { clock, count, size } from "./time.js";

const $ = (id) => document.getElementById(id);

export function make(name, text, className) {
	const e = document.createElement(name);
	if (text instanceof Node) {
		e.append(text);
	} else if (text !== undefined) {
		e.textContent = text;
	}
	if (className) {
		e.className = className;
	}
	return e;
}

export function button(text, label, does) {
	const b = make("button", text);
	b.type = "button";
	b.setAttribute("aria-label", label);
	b.addEventListener("click", does);
	return b;
}

// fill replaces a table's lines, at once. Columns are [title, value of a line, class].
export function fill(id, columns, lines, more) {
	const body = lines.map((line) => {
		const row = make("tr");
		for (const [, value, className] of columns) {
			row.append(make("td", value(line, row), className));
		}
		return row;
	});
	if (more) {
		$(id).tBodies[0].append(...body);
		return;
	}
	const head = make("tr");
	for (const [title, , className] of columns) {
		const th = make("th", title, className);
		th.scope = "col";
		head.append(th);
	}
	const empty = make("tr");
	const cell = make("td", "none in this time");
	cell.colSpan = columns.length;
	empty.append(cell);
	const [thead, tbody] = [make("thead"), make("tbody")];
	thead.append(head);
	tbody.append(...(body.length ? body : [empty]));
	$(id).replaceChildren(thead, tbody);
}

export function groups(id, title, lines, add) {
	fill(id, [
		[title, (g) => (g.filter ? button(g.name, `${g.name}: adds ${g.filter} to the filter`, () => add(g.filter)) : g.name)],
		["Packets", (g) => count(g.packets), "number"],
		["Bytes", (g) => size(g.bytes), "number"],
	], lines || []);
}

const end = (a, port) => (a || "") + (port === undefined ? "" : (a || "").includes(":") ? ` port ${port}` : `:${port}`);

export function flows(lines, choose, more) {
	fill("flows", [
		["Flow", (f) => {
			const name = `${end(f.a, f.a_port)} ↔ ${end(f.b, f.b_port)}`;
			return f.name ? button(name, `${name}: packets of this flow, ${f.protocol}`, () => choose(f.name)) : name;
		}],
		["Protocol", (f) => f.protocol],
		["Begin", (f) => (f.first || "").replace("T", " ").slice(0, 23)],
		["End", (f) => (f.last || "").slice(11, 23)],
		["Packets →", (f) => count(f.a_packets), "number"],
		["←", (f) => count(f.b_packets), "number"],
		["Bytes →", (f) => size(f.a_bytes), "number"],
		["←", (f) => size(f.b_bytes), "number"],
	], lines || [], more);
}

export function packets(lines, offset, open) {
	fill("packets", [
		["Time", (p, row) => {
			const n = offset + lines.indexOf(p);
			return button(p.time.slice(11, -1), `${p.time.slice(11, -1)}: open packet ${n + 1}, ${p.protocol}`, () => {
				document.querySelector("#packets tr.chosen")?.classList.remove("chosen");
				row.classList.add("chosen");
				open(n);
			});
		}],
		["Interface", (p) => p.interface],
		["Source", (p) => p.src],
		["Destination", (p) => p.dst],
		["Protocol", (p) => p.protocol],
		["Length", (p) => count(p.length), "number"],
		["", (p) => p.info],
	], lines, offset > 0);
}

export function packet(p, n) {
	$("packet-title").textContent = `Packet ${n + 1}: ${p.time}, ${p.length} bytes${p.captured < p.length ? `, of which ${p.captured} were captured` : ""}`;
	$("layers").replaceChildren(...(p.layers || []).map((l) => {
		const d = make("details");
		d.open = true;
		d.append(make("summary", l.name));
		const list = make("dl");
		for (const f of l.fields || []) {
			list.append(make("dt", f.name), make("dd", f.value));
		}
		d.append(list);
		return d;
	}));
	$("bytes").textContent = hex(Uint8Array.from(atob(p.bytes || ""), (c) => c.charCodeAt(0)));
	$("packet").hidden = false;
	$("packet").focus({ preventScroll: true });
	$("packet").scrollIntoView({ block: "nearest" });
}

function hex(b) {
	const lines = [];
	for (let i = 0; i < b.length; i += 16) {
		const part = [...b.slice(i, i + 16)];
		const digits = part.map((x) => x.toString(16).padStart(2, "0")).join(" ");
		const text = part.map((x) => (x >= 32 && x < 127 ? String.fromCharCode(x) : ".")).join("");
		lines.push(`${i.toString(16).padStart(4, "0")}  ${digits.padEnd(47)}  ${text}`);
	}
	return lines.join("\n");
}

export function files(lines) {
	fill("files", [
		["Name", (f) => f.name], ["State", (f) => f.state + (f.held ? ", held" : "") + (f.encrypted ? ", encrypted" : "")],
		["Begin", (f) => f.begin], ["Packets", (f) => (f.packets === undefined ? "?" : count(f.packets)), "number"],
		["Lost", (f) => (f.lost === undefined || f.lost === null ? "?" : count(f.lost)), "number"], ["Size", (f) => size(f.size), "number"],
	], lines);
}

export function ledger(lines) {
	const known = new Set(["v", "kind", "time", "directory", "interface"]);
	fill("ledger", [
		["Time", (l) => clock(Date.parse(l.time) * 1000, 3 * 86400e6)], ["Kind", (l) => l.kind], ["Interface", (l) => l.interface || ""],
		["", (l) => Object.entries(l).filter(([k]) => !known.has(k)).map(([k, v]) => `${k} ${v}`).join(", ")],
	], lines);
}
