// The plot and its lanes.
import { clock, count, duration, parse, size, spell } from "./time.js";

const $ = (id) => document.getElementById(id);
const names = {
	lost: ["Lost", "nothing lost"], gap: ["Not recorded", "no gap"], damaged: ["Damaged or unknown", "nothing damaged"],
	deleted: ["Deleted by limits", "nothing deleted"], held: ["Held", "nothing held"],
};
// steps are those of an axis of seconds: of clocks and calendars.
const steps = [...[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1].flatMap((s) => [s, 2 * s, 5 * s]), 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
	...[1, 2, 7, 14, 28, 90, 365, 1000].map((d) => d * 86400)];
let plot, data, choose;

export function start(onChoose) {
	choose = onChoose;
	new ResizeObserver(() => {
		if (plot && plot.width !== $("plot").clientWidth) {
			plot.setSize({ width: $("plot").clientWidth, height: 220 });
			place();
		}
	}).observe($("plot"));
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
		plot?.destroy();
		plot = null;
		if (data) {
			draw();
		}
	});
}

// bins is how many the plot can show.
export function bins(span) {
	const wide = Math.max(50, Math.min(1500, $("plot").clientWidth - 70));
	return Math.max(1, Math.min(wide, Math.floor(span) || wide));
}

export function show(t) {
	data = { ...t, from: parse(t.since), to: parse(t.until) };
	data.day = Math.floor(data.from / 86400e6) * 86400e6; // x is in seconds from here: a number has microseconds of many days
	if (data.to <= data.from) {
		data.to = data.from + 1;
	}
	draw();
	lanes();
	const sum = (all) => all.reduce((a, b) => a + b, 0);
	const about = t.exact ? "" : "about ";
	$("span").textContent = `${spell(data.from)} to ${spell(data.to)}, ${duration(data.to - data.from)}`;
	$("summary").textContent = `${about}${count(sum(t.packets))} packets, ${about}${size(sum(t.bytes))}, in ${count(t.files)} files of ${size(t.size)}.` +
		(t.unknown ? ` ${count(t.unknown)} of them are not summed up yet.` : "") + (t.why ? ` Estimated: ${t.why}.` : "") + (t.chosen ? " Only what the filter takes is counted." : "");
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function values() {
	const measure = $("measure").value;
	const width = (data.to - data.from) / data.bins;
	const y = data[measure];
	const xs = [], ys = [];
	for (let i = 0; i < data.bins; i++) {
		xs.push((data.from - data.day + i * width) / 1e6);
		ys.push(y ? y[i] : null);
	}
	xs.push((data.to - data.day) / 1e6);
	ys.push(y ? y[data.bins - 1] : null);
	return [xs, ys];
}

export function draw() {
	const xs = values();
	if (plot) {
		plot.setData(xs);
		place();
		return;
	}
	const axis = { stroke: colour("--text"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 }, font: "12px sans-serif" };
	plot = new uPlot({
		width: $("plot").clientWidth, height: 220, legend: { show: false }, padding: [8, 24, 0, 0],
		cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false } },
		scales: { x: { time: false, range: () => [(data.from - data.day) / 1e6, (data.to - data.day) / 1e6] }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
		axes: [
			{ ...axis, space: 90, incrs: steps, values: (_, all) => all.map((s) => clock(data.day + s * 1e6, data.to - data.from)) },
			{ ...axis, size: 60, values: (_, all) => all.map(short) },
		],
		series: [{}, { stroke: colour("--plot"), fill: colour("--fill"), width: 1, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
		hooks: { setSelect: [select], setCursor: [read] },
	}, xs, $("plot"));
	place();
}

function short(n) {
	for (const [unit, s] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
		if (n >= s) {
			return +(n / s).toPrecision(3) + unit;
		}
	}
	return +n.toPrecision(3) + "";
}

function select(u) {
	if (u.select.width < 3) {
		return;
	}
	const at = (px) => data.day + u.posToVal(px, "x") * 1e6;
	const [a, b] = [at(u.select.left), at(u.select.left + u.select.width)];
	u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
	choose(Math.max(a, data.from), Math.min(b, data.to));
}

function read(u) {
	const i = Math.floor((data.day - data.from + u.posToVal(u.cursor.left, "x") * 1e6) / ((data.to - data.from) / data.bins));
	const y = data[$("measure").value];
	if (u.cursor.left < 0 || !(i >= 0 && i < data.bins) || !y) {
		$("readout").textContent = y ? "" : "Flows are not known: not all files of this time have flow tables, or they are many.";
		return;
	}
	const measure = $("measure").value;
	$("readout").textContent = `${clock(data.from + (i * (data.to - data.from)) / data.bins, Math.min(data.to - data.from, 5e6))}: ${measure === "bytes" ? size(y[i]) : count(y[i]) + " " + measure}`;
}

// place puts the lanes below the plot.
function place() {
	const left = plot.bbox.left / devicePixelRatio, width = plot.bbox.width / devicePixelRatio;
	for (const svg of document.querySelectorAll(".lane svg")) {
		svg.style.marginLeft = left + "px";
		svg.style.width = width + "px";
	}
}

function lanes() {
	const least = (3 * data.bins) / Math.max(plot.bbox.width / devicePixelRatio, 1);
	$("lanes").replaceChildren(...data.lanes.map((l) => {
		const lane = document.createElement("div");
		lane.className = "lane " + l.kind;
		const text = document.createElement("p");
		const things = l.marks.reduce((n, m) => n + m.count, 0), frames = l.marks.reduce((n, m) => n + (m.frames || 0), 0);
		const [name, none] = names[l.kind];
		text.textContent = things ? `${name}: ${count(things)} ${things === 1 ? "time" : "times"}${frames ? `, ${count(frames)} packets` : ""}` : `${name}: ${none}`;
		lane.append(text);
		const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
		svg.setAttribute("viewBox", `0 0 ${data.bins} 1`);
		svg.setAttribute("preserveAspectRatio", "none");
		svg.setAttribute("aria-hidden", "true"); // the text says it, and the list of what is missing
		for (const m of l.marks) {
			const rect = document.createElementNS(svg.namespaceURI, "rect");
			rect.setAttribute("x", Math.min(m.begin, data.bins - least));
			rect.setAttribute("width", Math.max(m.end - m.begin, least));
			rect.setAttribute("height", 1);
			const title = document.createElementNS(svg.namespaceURI, "title");
			title.textContent = `${m.causes.join(", ")}: ${m.since} to ${m.until}${m.frames ? `, ${m.frames} packets` : ""}${m.count > 1 ? `, ${m.count} times` : ""}`;
			rect.append(title);
			rect.addEventListener("click", () => {
				const [a, b] = [parse(m.since), parse(m.until)];
				const around = Math.max((b - a) / 10, 1000);
				choose(a - around, b + around);
			});
			svg.append(rect);
		}
		lane.append(svg);
		return lane;
	}));
	place();
}
