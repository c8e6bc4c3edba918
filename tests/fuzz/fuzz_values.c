/* SPDX-License-Identifier: ISC */
/*
 * Single words that operators write: numbers with units, addresses, networks,
 * next hops, commands; and the list of what certificates log in as.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/ip.h"
#include "lib/units.h"
#include "policy/cidr.h"
#include "queue/deliver/token.h"
#include "queue/redirect.h"
#include "server/client_logins.h"
#include "server/client_name.h"

static void
check_units(const char *text)
{
	struct units_rate rate;
	uint64_t number, again;
	char out[32];

	if (units_size(text, &number))
		(void)units_format_size(number, out, sizeof(out));
	if (units_duration(text, &number)) {
		(void)units_format_duration(number, out, sizeof(out));
		/* cut to two units, never more than it was */
		FUZZ_CHECK(units_duration(out, &again) && again <= number);
	}
	if (units_rate(text, &rate))
		FUZZ_CHECK(rate.count == 0 || rate.period_s != 0);
}

static void
check_ip(struct str text)
{
	struct ip ip, again;
	struct cidr cidr, cidr2;
	char out[IP_TEXT_MAX + 4], name[80];

	if (ip_parse(text, &ip)) {
		FUZZ_CHECK(ip.family == IP_V4 || ip.family == IP_V6);
		FUZZ_CHECK(ip_parse(str_of(ip_format(&ip, out)), &again));
		FUZZ_CHECK(ip_equal(&ip, &again));
		again = ip_block(&ip);
		FUZZ_CHECK(again.family == ip.family);
		client_name_reverse(&ip, name);
		FUZZ_CHECK(strlen(name) < sizeof(name));
	}
	if (cidr_parse(text, &cidr)) {
		FUZZ_CHECK(cidr_holds(&cidr, &cidr.ip));
		FUZZ_CHECK(cidr_parse(str_of(cidr_format(&cidr, out)), &cidr2));
		FUZZ_CHECK(cidr.bits == cidr2.bits &&
			   ip_equal(&cidr.ip, &cidr2.ip));
	}
}

static void
check_words(const char *text)
{
	struct redirect_target target;
	char **words = token_words(text);
	size_t len = 0;

	for (size_t i = 0; words != NULL && words[i] != NULL; i++)
		len += strlen(words[i]);
	FUZZ_CHECK(len <= strlen(text));
	FUZZ_CHECK(words == NULL || words[0] != NULL);
	free(words);
	if (redirect_parse(text, &target) == NULL)
		FUZZ_CHECK(target.host[0] != '\0' && target.target.port != 0);
}

static void
check_logins(const char *text)
{
	struct err err = ERR_INIT;
	struct client_logins *logins = client_logins_read(text, "own", &err);

	if (logins == NULL) {
		FUZZ_CHECK(err.code < 0 && strncmp(err.text, "own:", 4) == 0);
		return;
	}
	FUZZ_CHECK(client_logins_find(logins, "") == NULL);
	(void)client_logins_find(logins, text); /* any answer */
	client_logins_free(logins);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	char *text = malloc(size + 1);

	FUZZ_CHECK(text != NULL);
	if (size != 0)
		memcpy(text, data, size);
	text[size] = '\0';
	check_ip(str_from((const char *)copy, size));
	check_units(text);
	check_words(text);
	check_logins(text);
	free(text);
	free(copy);
	return 0;
}
