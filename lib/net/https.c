/* SPDX-License-Identifier: ISC */
#include "lib/net/https.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#ifdef HAVE_CURL
#include <curl/curl.h>
#endif

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/work.h"

#define FETCHES_MAX 4 /* in workers at once */
#define WHY_MAX	    256

struct https_fetch {
	struct work_job job;
	https_fn *on_reply;
	void *owner;
	atomic_bool is_cancelled;

	char *url, *resolve, *ca; /* own */
	uint64_t timeout_ms;

	bool is_good;
	struct buf body;
	char type[128];
	char why[WHY_MAX];
};

#ifdef HAVE_CURL

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
init_curl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t
on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct https_fetch *fetch = arg;

	if (buf_add(&fetch->body, bytes, size * count) < 0) {
		(void)snprintf(fetch->why, sizeof(fetch->why),
			       "the document is larger than %zu bytes",
			       fetch->body.max_bytes);
		return 0; /* libcurl gives up */
	}
	return size * count;
}

/* Called about once a second. */
static int
on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct https_fetch *fetch = arg;

	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return atomic_load(&fetch->is_cancelled) ? 1 : 0;
}

/* False: an option that this libcurl does not know. */
static bool
set_options(CURL *curl, struct https_fetch *fetch, struct curl_slist *resolve,
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
	       curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) ==
		       CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_XFERINFODATA, fetch) ==
		       CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error) == CURLE_OK;
}

static void
transfer(CURL *curl, struct https_fetch *fetch, const char *error)
{
	CURLcode rc = curl_easy_perform(curl);
	const char *type = NULL;
	long status = 0;

	if (rc != CURLE_OK) {
		if (fetch->why[0] == '\0')
			(void)snprintf(fetch->why, sizeof(fetch->why), "%s",
				       error[0] != '\0'
					       ? error
					       : curl_easy_strerror(rc));
		return;
	}
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	if (type != NULL)
		(void)str_copy(fetch->type, sizeof(fetch->type), str_of(type));
	fetch->is_good = status == 200;
	if (!fetch->is_good)
		(void)snprintf(fetch->why, sizeof(fetch->why),
			       "the web server answered %ld", status);
}

static void
fetch_run(struct work_job *job)
{
	struct https_fetch *fetch = container_of(job, struct https_fetch, job);
	struct curl_slist *resolve = NULL;
	char error[CURL_ERROR_SIZE] = "";
	CURL *curl;

	if (atomic_load(&fetch->is_cancelled))
		return; /* nobody waits any more */
	(void)pthread_once(&curl_once, init_curl);
	curl = curl_easy_init();
	resolve = curl_slist_append(NULL, fetch->resolve);
	if (curl == NULL || resolve == NULL ||
	    !set_options(curl, fetch, resolve, error))
		(void)snprintf(fetch->why, sizeof(fetch->why),
			       "libcurl cannot do it");
	else
		transfer(curl, fetch, error);
	curl_easy_cleanup(curl);
	curl_slist_free_all(resolve);
}

bool
https_is_available(void)
{
	return true;
}

const char *
https_library_version(void)
{
	return curl_version_info(CURLVERSION_NOW)->version;
}

#else

static void
fetch_run(struct work_job *job)
{
	struct https_fetch *fetch = container_of(job, struct https_fetch, job);

	(void)snprintf(fetch->why, sizeof(fetch->why),
		       "this program was built without libcurl");
}

bool
https_is_available(void)
{
	return false;
}

const char *
https_library_version(void)
{
	return NULL;
}

#endif

static void
fetch_done(struct work_job *job)
{
	struct https_fetch *fetch = container_of(job, struct https_fetch, job);
	struct https_reply reply = {
		.is_good = fetch->is_good,
		.body = str_from((const char *)buf_bytes(&fetch->body),
				 buf_len(&fetch->body)),
		.type = fetch->type,
		.why = fetch->why,
	};

	fetch->on_reply(fetch->owner, &reply);
}

static void
fetch_free(struct work_job *job)
{
	struct https_fetch *fetch = container_of(job, struct https_fetch, job);

	buf_done(&fetch->body);
	free(fetch->url);
	free(fetch->resolve);
	free(fetch->ca);
	free(fetch);
}

/* "host:port:address,address", as CURLOPT_RESOLVE wants it. */
static char *
resolve_text(const struct https_request *request)
{
	char text[HTTPS_ADDRS_MAX * (IP_TEXT_MAX + 3) + 1] = "",
							ip[IP_TEXT_MAX];
	size_t len = 0;

	for (size_t i = 0; i < request->addr_count && i < HTTPS_ADDRS_MAX;
	     i++) {
		bool is_v6 = request->addrs[i].family == IP_V6;

		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%s%s%s%s", i != 0 ? "," : "",
					is_v6 ? "[" : "",
					ip_format(&request->addrs[i], ip),
					is_v6 ? "]" : "");
	}
	return mem_printf("%s:%u:%s", request->host, request->port, text);
}

struct https_fetch *
https_get(uv_loop_t *loop, const struct https_request *request,
	  https_fn *on_reply, void *owner)
{
	static struct work_lane lane; /* the loop thread's */
	struct https_fetch *fetch = mem_zalloc(sizeof(*fetch));

	if (lane.limit == 0)
		work_lane_init(&lane, FETCHES_MAX);
	fetch->on_reply = on_reply;
	fetch->owner = owner;
	atomic_init(&fetch->is_cancelled, false);
	fetch->url = mem_printf("https://%s:%u%s", request->host, request->port,
				request->path);
	fetch->resolve = resolve_text(request);
	fetch->ca = mem_strdup(request->ca);
	fetch->timeout_ms = request->timeout_ms;
	buf_init(&fetch->body, request->max_bytes);
	fetch->job.run = fetch_run;
	fetch->job.done = fetch_done;
	fetch->job.free_job = fetch_free;
	work_start(loop, &fetch->job, &lane);
	return fetch;
}

void
https_cancel(struct https_fetch *fetch)
{
	atomic_store(&fetch->is_cancelled, true);
	work_detach(&fetch->job);
}
