/* SPDX-License-Identifier: ISC */
/*
 * server/ostler_fetch.c - one document from a web server, in a process of its
 * own
 *
 *	ostler-fetch HOST PORT PATH MAX_BYTES TIMEOUT_MS CA ADDRESS...
 *
 * The daemon runs it when a policy must be read (lib/net/https.c), so that
 * libcurl and all that comes with it is in memory for that moment only, and
 * what strangers' web servers say is parsed where no mail is. Only what MTA-STS
 * needs (RFC 8461, 3.3): GET over HTTPS from these addresses, a certificate
 * that is checked, no redirects. CA "" is the system's.
 *
 * Standard output gets "good TYPE\n" and the document, or "bad WHY\n"; exit 0
 * for both, 64 for wrong arguments.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <config.h> /* <>: not server/config.h */
#include <curl/curl.h>

#include "lib/buf.h"
#include "lib/str.h"

#define BYTES_MAX   ((uint64_t)1 << 20)
#define TIMEOUT_MAX UINT64_C(600000)
#define ARGS	    7	/* in front of the addresses */
#define TEXT_MAX    255 /* of the first line; the reader has a limit too */

struct fetch {
	char url[1024], resolve[1024];
	const char *ca; /* NULL: the system's */
	uint64_t timeout_ms;
	struct buf body;
	bool is_too_large;
};

/* ----------------------------------------------------------- arguments */

/* "host:port:address,address", as CURLOPT_RESOLVE wants it. */
static bool
read_resolve(struct fetch *fetch, char **argv)
{
	struct buf text;
	bool fits;

	buf_init(&text, sizeof(fetch->resolve) - 1);
	fits = buf_addf(&text, "%s:%s:", argv[1], argv[2]) == 0;
	for (size_t i = ARGS; argv[i] != NULL; i++) {
		bool is_v6 = strchr(argv[i], ':') != NULL;

		fits = fits && buf_addf(&text, "%s%s%s%s", i > ARGS ? "," : "",
					is_v6 ? "[" : "", argv[i],
					is_v6 ? "]" : "") == 0;
	}
	if (fits)
		(void)str_copy(fetch->resolve, sizeof(fetch->resolve),
			       str_of(buf_text(&text)));
	buf_done(&text);
	return fits;
}

static bool
read_arguments(struct fetch *fetch, int argc, char **argv)
{
	uint64_t max_bytes;
	int len;

	if (argc <= ARGS || !str_u64(str_of(argv[4]), BYTES_MAX, &max_bytes) ||
	    !str_u64(str_of(argv[5]), TIMEOUT_MAX, &fetch->timeout_ms))
		return false;
	len = snprintf(fetch->url, sizeof(fetch->url), "https://%s:%s%s",
		       argv[1], argv[2], argv[3]);
	fetch->ca = argv[6][0] != '\0' ? argv[6] : NULL;
	buf_init(&fetch->body, (size_t)max_bytes);
	return len > 0 && (size_t)len < sizeof(fetch->url) &&
	       read_resolve(fetch, argv);
}

/* ------------------------------------------------------------ transfer */

static size_t
on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct fetch *fetch = arg;

	if (buf_add(&fetch->body, bytes, size * count) < 0) {
		fetch->is_too_large = true;
		return 0; /* libcurl gives up */
	}
	return size * count;
}

/* False: an option that this libcurl does not know. */
static bool
set_options(CURL *curl, struct fetch *fetch, struct curl_slist *resolve,
	    char *error)
{
	return curl_easy_setopt(curl, CURLOPT_URL, fetch->url) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") ==
		       CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve) == CURLE_OK &&
	       /* no proxy and no .netrc of whoever started us */
	       curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_NETRC, CURL_NETRC_IGNORED) ==
		       CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_SSLVERSION,
				(long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	       (fetch->ca == NULL ||
		(curl_easy_setopt(curl, CURLOPT_CAINFO, fetch->ca) ==
			 CURLE_OK &&
		 curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK)) &&
	       curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
				(long)fetch->timeout_ms) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_MAXFILESIZE,
				(long)fetch->body.max_bytes) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) ==
		       CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEDATA, fetch) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error) == CURLE_OK;
}

/* One line: what it holds came from a stranger. */
static void
print_line(const char *what, const char *text)
{
	(void)printf("%s ", what);
	for (size_t i = 0; i < TEXT_MAX && text[i] != '\0'; i++)
		(void)putchar((unsigned char)text[i] < ' ' || text[i] == 0x7f
				      ? ' '
				      : text[i]);
	(void)putchar('\n');
}

static void
print_good(CURL *curl, struct fetch *fetch)
{
	const char *type = NULL;

	(void)curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	print_line("good", type != NULL ? type : "");
	if (buf_len(&fetch->body) != 0)
		(void)fwrite(buf_bytes(&fetch->body), 1, buf_len(&fetch->body),
			     stdout);
}

static void
transfer(CURL *curl, struct fetch *fetch, const char *error)
{
	CURLcode rc = curl_easy_perform(curl);
	char why[128];
	long status = 0;

	if (fetch->is_too_large || rc == CURLE_FILESIZE_EXCEEDED) {
		(void)snprintf(why, sizeof(why),
			       "the document is larger than %zu bytes",
			       fetch->body.max_bytes);
		print_line("bad", why);
		return;
	}
	if (rc != CURLE_OK) {
		print_line("bad",
			   error[0] != '\0' ? error : curl_easy_strerror(rc));
		return;
	}
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200) {
		print_good(curl, fetch);
		return;
	}
	(void)snprintf(why, sizeof(why), "the web server answered %ld", status);
	print_line("bad", why);
}

/* Far more than one document with its TLS takes. */
#define MEMORY_MAX  ((rlim_t)256 << 20)
#define CPU_SECONDS 20
#define OPEN_FILES  64

static void
limit(int what, rlim_t most)
{
	const struct rlimit limit = {most, most};

	(void)setrlimit(what, &limit); /* a lower one is as good */
}

/* No open file of the daemon's, no new right, and little of the machine for
 * whoever should get the better of the libraries here. What fails was not to
 * be had. */
static void
shut_doors(uint64_t timeout_ms)
{
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_CPU, CPU_SECONDS);
	limit(RLIMIT_NOFILE, OPEN_FILES);
#ifndef __SANITIZE_ADDRESS__ /* whose shadow alone is larger */
	limit(RLIMIT_DATA, MEMORY_MAX);
#endif
	/* the daemon may be gone by then; it would have ended this earlier */
	(void)alarm((unsigned)(timeout_ms / 1000) + 5);
#ifdef HAVE_CLOSE_RANGE
	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
#endif
}

int
main(int argc, char **argv)
{
	static struct fetch fetch;
	struct curl_slist *resolve;
	char error[CURL_ERROR_SIZE] = "";
	CURL *curl;

	if (!read_arguments(&fetch, argc, argv))
		return 64;
	shut_doors(fetch.timeout_ms);
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	curl = curl_easy_init();
	resolve = curl_slist_append(NULL, fetch.resolve);
	if (curl == NULL || resolve == NULL ||
	    !set_options(curl, &fetch, resolve, error))
		print_line("bad", "libcurl cannot do it");
	else
		transfer(curl, &fetch, error);
	curl_easy_cleanup(curl);
	curl_slist_free_all(resolve);
	curl_global_cleanup();
	buf_done(&fetch.body);
	return fflush(stdout) == 0 ? 0 : 1;
}
