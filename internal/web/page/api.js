// What the page asks, and who it is. The token of the address is exchanged once; what comes for it stays in this tab.
const key = "capd-session";
let token = "";

export async function begin() {
	const given = location.hash.slice(1);
	token = sessionStorage.getItem(key) || "";
	if (/^[A-Z2-7]{20,}$/.test(given)) {
		history.replaceState(null, "", location.pathname + location.search);
		const got = await send("v1/session", { method: "POST" }, given);
		token = got.token;
		sessionStorage.setItem(key, token);
	}
}

async function send(path, options, as) {
	const response = await fetch(path, { ...options, headers: { Authorization: "Bearer " + as } });
	const body = await response.json();
	if (!response.ok) {
		throw Object.assign(new Error(body.error), body);
	}
	return body;
}

export function parameters(values) {
	const p = new URLSearchParams();
	for (const [name, value] of Object.entries(values)) {
		if (value !== "" && value !== null && value !== undefined) {
			p.append(name, value);
		}
	}
	return p;
}

const running = new Map();

// ask asks a question, and ends the one that was asked for the same place before.
export async function ask(place, path, values, method = "GET") {
	running.get(place)?.abort();
	const stop = new AbortController();
	running.set(place, stop);
	busy(1);
	try {
		return await send(path + "?" + parameters(values), { method, signal: stop.signal }, token);
	} finally {
		busy(-1);
		if (running.get(place) === stop) {
			running.delete(place);
		}
	}
}

// ended says that an error is one of a question that a newer one has ended.
export const ended = (e) => e.name === "AbortError";

let asking = 0;

export function busy(n) {
	asking += n;
	document.getElementById("main").setAttribute("aria-busy", asking > 0 ? "true" : "false");
}
