// The page: what is asked for is in state and in the address, and everything shown follows from it.
import * as api from "./api.js";
import * as tables from "./tables.js";
import * as timeline from "./timeline.js";
import { parse, spell } from "./time.js";

const $ = (id) => document.getElementById(id);
const empty = { since: "", until: "", filter: "", interface: "", flow: "" };
let state = { ...empty };
let shown = null; // the timeline

const question = () => ({ ...state });

function trouble(e) {
	if (api.ended(e)) {
		return;
	}
	$("trouble").textContent = [e.message, ...(e.hints || [])].join(". ");
}

// go changes what is asked for.
async function go(change, keep) {
	const next = { ...state, ...change };
	if (!(await check(next.filter))) {
		return;
	}
	state = next;
	if (!keep) {
		history.pushState(null, "", "#" + api.parameters(state));
	}
	await load();
}

// check asks whether the filter is one, and shows where it is not.
async function check(filter) {
	try {
		await api.ask("filter", "v1/filter", { filter });
		$("filter").removeAttribute("aria-invalid");
		$("filter-error").textContent = "";
		return true;
	} catch (e) {
		if (e.offset === undefined) {
			trouble(e);
			return false;
		}
		const text = new TextDecoder().decode(new TextEncoder().encode(filter).slice(0, e.offset));
		$("filter").setAttribute("aria-invalid", "true");
		$("filter-error").textContent = `${filter}\n${" ".repeat([...text].length)}^ ${e.message}${e.hints ? `: ${e.hints[0]}` : ""}`;
		return false;
	}
}

async function load() {
	$("trouble").textContent = "";
	$("filter").value = state.filter;
	$("interface").value = state.interface;
	$("flow").hidden = !state.flow;
	$("flow-name").textContent = state.flow;
	$("packet").hidden = true;
	$("took").textContent = "";
	api.busy(1); // until all is there
	try {
		await Promise.all([line(), command(), who(), packets(0), $("files-box").open && files(), $("ledger-box").open && ledger()].map((p) => Promise.resolve(p).catch(trouble)));
	} finally {
		api.busy(-1);
	}
}

async function line() {
	const span = state.since && state.until ? parse(state.until) - parse(state.since) : Infinity;
	const t = await api.ask("timeline", "v1/timeline", { ...question(), bins: timeline.bins(span) });
	shown = t;
	timeline.show(t);
	$("verdict").textContent = t.verdict.text;
	$("verdict").dataset.word = t.verdict.word;
	const reasons = t.verdict.reasons.map((r) => tables.make("li", r));
	if (t.verdict.more) {
		reasons.push(tables.make("li", `and ${t.verdict.more} more`));
	}
	$("reasons").replaceChildren(...(reasons.length ? reasons : [tables.make("li", "nothing that is known")]));
}

async function command() {
	$("command").textContent = (await api.ask("command", "v1/filter", question())).command;
}

const ofTime = () => ({ since: state.since, until: state.until, interface: state.interface, filter: state.filter });
let flowsShown = 0;

async function who() {
	const add = (more) => go({ filter: state.filter ? `(${state.filter}) and ${more}` : more });
	const group = (name, title) => api.ask(name, "v1/flows", { ...ofTime(), group: name, limit: 10 }).then((f) => tables.groups(name, title, f.groups, add));
	await Promise.all([group("hosts", "Address"), group("ports", "Port"), group("protocols", "Protocol"), flows(0)]);
}

async function flows(offset) {
	const f = await api.ask("flows", "v1/flows", { ...ofTime(), limit: 20, offset });
	tables.flows(f.flows, (flow) => go({ flow }).then(() => $("packets-title").scrollIntoView({ block: "nearest" })), offset > 0);
	flowsShown = offset + (f.flows || []).length;
	$("flows-more").hidden = !f.more;
	$("flows-note").textContent = `${f.total.flows} flows.` + (f.scanned ? ` ${f.scanned} files have no flow table and were read: capd index makes tables.` : "") +
		(f.inexact ? " They are too many to count each." : "") + (f.trouble ? ` ${f.trouble[0]}` : "");
}

let packetsShown = 0;

async function packets(offset) {
	const p = await api.ask("packets", "v1/packets", { ...question(), limit: 50, offset });
	tables.packets(p.packets, offset, (n) => open(n).catch(trouble));
	packetsShown = offset + p.packets.length;
	$("packets-more").hidden = !p.more;
}

async function open(n) {
	const p = await api.ask("packet", "v1/packets", { ...question(), limit: 1, offset: n, detail: 1 });
	if (p.packets.length) {
		tables.packet(p.packets[0], n);
	}
}

async function files() {
	tables.files((await api.ask("files", "v1/files", { since: state.since, until: state.until, interface: state.interface, limit: 200 })).files);
}

async function ledger() {
	tables.ledger((await api.ask("ledger", "v1/ledger", { since: state.since, until: state.until, interface: state.interface, limit: 200 })).lines);
}

// download lets the browser write the file, and says what came of it.
async function download() {
	$("took").textContent = "Downloading…";
	const ticket = await api.ask("download", "v1/downloads", question(), "POST");
	const a = tables.make("a");
	a.href = `v1/downloads/${ticket.id}/file`;
	a.download = ticket.name;
	a.click();
	const done = await api.ask("downloaded", `v1/downloads/${ticket.id}`, {});
	$("took").textContent = `${ticket.name}: ${done.error ? done.error + ". " : ""}${done.verdict}`;
}

// move changes the span that is shown, in parts of itself.
function move(left, right) {
	if (!shown) {
		return;
	}
	const [from, to] = [parse(shown.since), parse(shown.until)];
	const span = to - from;
	choose(from + left * span, to + right * span);
}

// choose shows a span: ten microseconds at least.
function choose(from, to) {
	from = Math.floor(from);
	to = Math.max(Math.ceil(to), from + 10);
	const [first, last] = [parse(shown.first), parse(shown.last) + 1];
	if (from <= first && to >= last) {
		return go({ since: "", until: "" });
	}
	return go({ since: spell(Math.max(from, first - (to - from))), until: spell(Math.min(to, last + (to - from))) });
}

const moves = { earlier: [-0.5, -0.5], later: [0.5, 0.5], in: [0.25, -0.25], out: [-0.5, 0.5] };
const keys = { ArrowLeft: "earlier", ArrowRight: "later", "+": "in", "=": "in", "-": "out", 0: "all" };

function listen() {
	for (const [id, [left, right]] of Object.entries(moves)) {
		$(id).addEventListener("click", () => move(left, right));
	}
	$("all").addEventListener("click", () => go({ since: "", until: "" }));
	$("plot").addEventListener("keydown", (e) => {
		if (keys[e.key] && !e.ctrlKey && !e.metaKey && !e.altKey) {
			e.preventDefault();
			$(keys[e.key]).click();
		}
	});
	$("question").addEventListener("submit", (e) => {
		e.preventDefault();
		go({ filter: $("filter").value.trim() });
	});
	$("clear").addEventListener("click", () => go({ filter: "", flow: "", interface: "" }));
	$("interface").addEventListener("change", () => go({ interface: $("interface").value }));
	$("flow-clear").addEventListener("click", () => go({ flow: "" }));
	$("measure").addEventListener("change", () => timeline.draw());
	$("flows-more").addEventListener("click", () => flows(flowsShown).catch(trouble));
	$("packets-more").addEventListener("click", () => packets(packetsShown).catch(trouble));
	$("download").addEventListener("click", () => download().catch(trouble));
	$("copy").addEventListener("click", async () => {
		try {
			await navigator.clipboard.writeText($("command").textContent);
			$("took").textContent = "The command line is copied.";
		} catch {
			getSelection().selectAllChildren($("command"));
			$("took").textContent = "The browser does not let a page copy: the command line is selected, copy it from there.";
		}
	});
	$("files-box").addEventListener("toggle", () => $("files-box").open && files().catch(trouble));
	$("ledger-box").addEventListener("toggle", () => $("ledger-box").open && ledger().catch(trouble));
	addEventListener("popstate", () => {
		read();
		load();
	});
	setInterval(() => {
		if (shown?.growing && !state.until && !document.hidden && $("main").getAttribute("aria-busy") === "false") {
			line().catch(trouble);
		}
	}, 5000);
}

// read takes what is asked for from the address.
function read() {
	state = { ...empty };
	const given = new URLSearchParams(location.hash.slice(1));
	for (const name of Object.keys(empty)) {
		state[name] = given.get(name) || "";
	}
}

async function main() {
	try {
		await api.begin();
		const info = await api.ask("info", "v1/info", {});
		$("place").textContent = info.directories.map((d) => d.replace(/\/+$/, "").split("/").pop() || d).join(", ");
		$("place").title = info.directories.join(", ");
		document.title = `capd: ${info.directories.join(", ")}`;
		for (const name of info.interfaces) {
			const o = tables.make("option", name);
			o.value = name;
			$("interface").append(o);
		}
		read();
		timeline.start(choose);
		listen();
		await load();
	} catch (e) {
		$("verdict").textContent = "unknown";
		trouble(e);
		$("main").setAttribute("aria-busy", "false");
	}
}

main();
