/* SPDX-License-Identifier: ISC */
#include "auth/throttle.h"

#include <stdlib.h>
#include <string.h>

#include "lib/lru.h"
#include "lib/mem.h"

#define CLIENTS_MAX 16384
#define LOGINS_MAX  1024

#define MINUTE_MS      UINT64_C(60000)
#define HOUR_MS	       (60 * MINUTE_MS)
#define DAY_MS	       (24 * HOUR_MS)
#define FADE_MS	       (30 * MINUTE_MS) /* one failure less */
#define DELAY_FIRST_MS 500
#define DELAY_MAX_MS   5000
#define LOCK_FROM      10 /* failures */
#define LOCK_FIRST_MS  MINUTE_MS
#define ATTACKED_FROM  5 /* addresses, within an hour */
#define FAILURES_MAX   1000

struct client {
	struct lru_entry entry;
	struct ip block;
	unsigned failures;
	uint64_t faded_ms; /* when failures was true */
	uint64_t last_ms, locked_until_ms;
	char login[THROTTLE_LOGIN_MAX]; /* that all failures were for */
	bool is_mixed;			/* they were for several */
};

struct login {
	struct lru_entry entry;
	char name[THROTTLE_LOGIN_MAX];
	unsigned failures, address_count;
	uint64_t since_ms;	     /* of this hour's count */
	uint64_t last_ms, warned_ms; /* warned_ms 0: never */
	struct ip addresses[THROTTLE_ADDRESSES_MAX];
};

struct throttle {
	struct lru clients, logins;
};

static void
client_free(struct lru_entry *entry)
{
	free(container_of(entry, struct client, entry));
}

static void
login_free(struct lru_entry *entry)
{
	free(container_of(entry, struct login, entry));
}

struct throttle *
throttle_new(void)
{
	struct throttle *throttle = mem_zalloc(sizeof(*throttle));

	lru_init(&throttle->clients, CLIENTS_MAX, client_free);
	lru_init(&throttle->logins, LOGINS_MAX, login_free);
	return throttle;
}

void
throttle_free(struct throttle *throttle)
{
	if (throttle == NULL)
		return;
	lru_done(&throttle->clients);
	lru_done(&throttle->logins);
	free(throttle);
}

/* ---------------------------------------------------------------- clients */

static struct client *
client_find(struct throttle *throttle, const struct ip *ip)
{
	struct ip block = ip_block(ip);
	struct lru_entry *entry =
		lru_find(&throttle->clients, &block, sizeof(block));

	return entry != NULL ? container_of(entry, struct client, entry) : NULL;
}

static void
client_fade(struct client *client, uint64_t now_ms)
{
	uint64_t faded = (now_ms - client->faded_ms) / FADE_MS;

	client->faded_ms += faded * FADE_MS;
	client->failures = faded < client->failures
				   ? client->failures - (unsigned)faded
				   : 0;
}

static uint64_t
client_locked_ms(const struct client *client, uint64_t lock_max_ms,
		 uint64_t now_ms)
{
	uint64_t left_ms;

	if (client->locked_until_ms <= now_ms)
		return 0;
	left_ms = client->locked_until_ms - now_ms;
	/* a reload may have shortened the longest lock */
	return left_ms < lock_max_ms ? left_ms : lock_max_ms;
}

uint64_t
throttle_locked_ms(struct throttle *throttle, const struct ip *ip,
		   uint64_t lock_max_ms, uint64_t now_ms)
{
	struct client *client = client_find(throttle, ip);

	return client != NULL ? client_locked_ms(client, lock_max_ms, now_ms)
			      : 0;
}

/* The login as far as it is kept. */
static void
keep_name(char to[THROTTLE_LOGIN_MAX], const char *login)
{
	size_t len = strnlen(login, THROTTLE_LOGIN_MAX - 1);

	memcpy(to, login, len);
	to[len] = '\0';
}

/* base, doubled for each step, but at most max. */
static uint64_t
doubled(uint64_t base, unsigned steps, uint64_t max)
{
	while (steps-- > 0 && base < max)
		base *= 2;
	return base < max ? base : max;
}

static void
client_failed(struct throttle *throttle, const struct ip *ip, const char *name,
	      uint64_t lock_max_ms, uint64_t now_ms,
	      struct throttle_answer *out)
{
	struct client *client = client_find(throttle, ip);

	if (client == NULL) {
		client = mem_zalloc(sizeof(*client));
		client->block = ip_block(ip);
		client->faded_ms = now_ms;
		keep_name(client->login, name);
		lru_add(&throttle->clients, &client->entry, &client->block,
			sizeof(client->block));
	}
	client_fade(client, now_ms);
	if (client->failures == 0) {
		keep_name(client->login, name);
		client->is_mixed = false;
	} else if (strcmp(client->login, name) != 0) {
		client->is_mixed = true;
	}
	if (client->failures < FAILURES_MAX)
		client->failures++;
	client->last_ms = now_ms;
	out->failures = client->failures;
	out->delay_ms = doubled(DELAY_FIRST_MS, client->failures - 1,
				lock_max_ms < DELAY_MAX_MS ? lock_max_ms
							   : DELAY_MAX_MS);
	if (client->failures < LOCK_FROM || lock_max_ms == 0)
		return;
	out->lock_ms = doubled(LOCK_FIRST_MS, client->failures - LOCK_FROM,
			       lock_max_ms);
	client->locked_until_ms = now_ms + out->lock_ms;
}

/* ----------------------------------------------------------------- logins */

static struct login *
login_find(struct throttle *throttle, const char *name)
{
	struct lru_entry *entry =
		lru_find(&throttle->logins, name, strlen(name));

	return entry != NULL ? container_of(entry, struct login, entry) : NULL;
}

static bool
login_has_address(const struct login *login, const struct ip *block)
{
	for (unsigned i = 0; i < login->address_count; i++)
		if (ip_equal(&login->addresses[i], block))
			return true;
	return false;
}

static void
login_failed(struct throttle *throttle, const struct ip *ip, const char *name,
	     uint64_t now_ms, struct throttle_answer *out)
{
	struct login *login = login_find(throttle, name);
	struct ip block = ip_block(ip);

	if (login == NULL) {
		login = mem_zalloc(sizeof(*login));
		keep_name(login->name, name);
		login->since_ms = now_ms;
		lru_add(&throttle->logins, &login->entry, login->name,
			strlen(login->name));
	}
	if (now_ms - login->since_ms > HOUR_MS) {
		login->since_ms = now_ms;
		login->failures = 0;
		login->address_count = 0;
	}
	if (login->failures < FAILURES_MAX)
		login->failures++;
	login->last_ms = now_ms;
	if (!login_has_address(login, &block) &&
	    login->address_count < THROTTLE_ADDRESSES_MAX)
		login->addresses[login->address_count++] = block;
	if (login->address_count < ATTACKED_FROM ||
	    (login->warned_ms != 0 && now_ms - login->warned_ms < DAY_MS))
		return;
	login->warned_ms = now_ms;
	out->addresses = login->address_count;
}

/* ---------------------------------------------------------------- answers */

void
throttle_failed(struct throttle *throttle, const struct ip *ip,
		const char *login, uint64_t lock_max_ms, uint64_t now_ms,
		struct throttle_answer *out)
{
	char name[THROTTLE_LOGIN_MAX];

	memset(out, 0, sizeof(*out));
	if (ip->family == IP_NONE)
		return;
	keep_name(name, login != NULL ? login : "");
	client_failed(throttle, ip, name, lock_max_ms, now_ms, out);
	if (name[0] != '\0')
		login_failed(throttle, ip, name, now_ms, out);
}

void
throttle_succeeded(struct throttle *throttle, const struct ip *ip,
		   const char *login)
{
	struct client *client = client_find(throttle, ip);
	char name[THROTTLE_LOGIN_MAX];

	if (client == NULL)
		return;
	keep_name(name, login);
	if (!client->is_mixed && strcmp(client->login, name) == 0)
		lru_remove(&throttle->clients, &client->entry);
}

void
throttle_each(struct throttle *throttle, uint64_t lock_max_ms, uint64_t now_ms,
	      void (*on_client)(void *arg, const struct throttle_client *),
	      void (*on_login)(void *arg, const struct throttle_login *),
	      void *arg)
{
	struct list *node;

	if (on_client != NULL)
		list_each (node, &throttle->clients.used) {
			struct client *client =
				container_of(node, struct client, entry.used);
			struct throttle_client shown;

			client_fade(client, now_ms);
			shown.ip = client->block;
			shown.failures = client->failures;
			shown.last_ms = client->last_ms;
			shown.locked_ms =
				client_locked_ms(client, lock_max_ms, now_ms);
			if (shown.failures != 0 || shown.locked_ms != 0)
				on_client(arg, &shown);
		}
	if (on_login != NULL)
		list_each (node, &throttle->logins.used) {
			struct login *login =
				container_of(node, struct login, entry.used);
			struct throttle_login shown = {
				.login = login->name,
				.failures = login->failures,
				.addresses = login->address_count,
				.is_attacked = login->warned_ms != 0 &&
					       now_ms - login->last_ms < DAY_MS,
			};

			if (shown.is_attacked ||
			    now_ms - login->since_ms <= HOUR_MS)
				on_login(arg, &shown);
		}
}

bool
throttle_clear(struct throttle *throttle, const struct ip *ip)
{
	struct client *client = client_find(throttle, ip);

	if (client == NULL)
		return false;
	lru_remove(&throttle->clients, &client->entry);
	return true;
}

bool
throttle_clear_login(struct throttle *throttle, const char *login)
{
	char name[THROTTLE_LOGIN_MAX];
	struct login *found;

	keep_name(name, login);
	found = login_find(throttle, name);
	if (found == NULL)
		return false;
	lru_remove(&throttle->logins, &found->entry);
	return true;
}
