/*
 * Compiles filters with libpcap, as tcpdump -ddd does, but thousands in one
 * process. A line of input is
 *
 *	SOURCE SNAPLEN OPTIMIZE EXPRESSION
 *
 * where SOURCE is the link type of a capture file, or an interface. The answer
 * is one line of output: the number of instructions and each one's code, jt, jf
 * and k, or "error" and libpcap's complaint.
 *
 * The declarations are libpcap's, whose headers are not needed: only the
 * library, which tcpdump comes with.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct instruction { uint16_t code; uint8_t jt, jf; uint32_t k; };
struct program { unsigned n; struct instruction *code; };

extern void *pcap_fopen_offline(FILE *, char *);
extern void *pcap_open_live(const char *, int, int, int, char *);
extern int pcap_compile(void *, struct program *, const char *, int, uint32_t);
extern char *pcap_geterr(void *);
extern void pcap_freecode(struct program *);
extern void pcap_close(void *);

static char error[256]; /* PCAP_ERRBUF_SIZE */

/* open_file returns a capture file without packets. */
static void *open_file(uint32_t link, uint32_t snaplen)
{
	static struct { uint32_t magic; uint16_t major, minor; uint32_t zero[2], snaplen, link; }
		header = { .magic = 0xa1b2c3d4, .major = 2, .minor = 4 };
	FILE *f;

	header.snaplen = snaplen;
	header.link = link;
	f = fmemopen(&header, sizeof header, "r");
	return f != NULL ? pcap_fopen_offline(f, error) : NULL;
}

/* open_live returns the interface, which stays open: there is only one. */
static void *open_live(const char *name, int snaplen)
{
	static void *live;

	if (live == NULL)
		live = pcap_open_live(name, snaplen, 0, 1000, error);
	return live;
}

static void answer(void *source, int optimize, const char *expr)
{
	struct program p;

	if (source == NULL) {
		printf("error %s\n", error);
		return;
	}
	if (pcap_compile(source, &p, expr, optimize, 0) != 0) {
		printf("error %s\n", pcap_geterr(source));
		return;
	}
	printf("%u", p.n);
	for (unsigned i = 0; i < p.n; i++)
		printf(" %u %u %u %u", p.code[i].code, p.code[i].jt, p.code[i].jf, p.code[i].k);
	putchar('\n');
	pcap_freecode(&p);
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while ((n = getline(&line, &size, stdin)) > 0) {
		char name[16], *end; /* IFNAMSIZ */
		int snaplen, optimize, at = 0;

		line[n - 1] = '\0';
		if (sscanf(line, "%15s %d %d%n", name, &snaplen, &optimize, &at) != 3 || line[at] != ' ')
			return 2;
		uint32_t link = strtoul(name, &end, 10);
		if (*end != '\0') {
			answer(open_live(name, snaplen), optimize, line + at + 1);
		} else {
			void *file = open_file(link, snaplen);
			answer(file, optimize, line + at + 1);
			if (file != NULL)
				pcap_close(file);
		}
		fflush(stdout);
	}
	return 0;
}
