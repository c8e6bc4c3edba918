/* SPDX-License-Identifier: ISC */
#include "server/nat_watch.h"

#include <string.h>

bool
nat_watch_saw(struct nat_watch *watch, const struct ip *ip, const char *helo)
{
	char name[ADDR_DOMAIN_MAX + 1];
	bool is_known = false;

	if (watch->is_told)
		return false;
	if (!ip_is_private(ip) || !ip_equal(&watch->ip, ip)) {
		memset(watch, 0, sizeof(*watch));
		if (!ip_is_private(ip))
			return false;
		watch->ip = *ip;
	}
	(void)str_copy(name, sizeof(name), str_of(helo)); /* cut: as good */
	for (unsigned i = 0; i < watch->names; i++)
		if (strcmp(watch->name[i], name) == 0)
			is_known = true;
	if (!is_known && watch->names < NAT_WATCH_NAMES)
		memcpy(watch->name[watch->names++], name, sizeof(name));
	watch->is_told = ++watch->sessions >= NAT_WATCH_SESSIONS &&
			 watch->names >= NAT_WATCH_NAMES;
	return watch->is_told;
}
