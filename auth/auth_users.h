/* SPDX-License-Identifier: ISC */
/*
 * auth/auth_users.h - the login database that `ostlerctl user` edits
 *
 * A sasldb file through libsasl2 itself. Blocking: for ostlerctl, or in a
 * worker. Database and realm come from the configuration; a login is always
 * the NAME given here, the realm is part of the keys only.
 */
#ifndef OSTLER_AUTH_AUTH_USERS_H
#define OSTLER_AUTH_AUTH_USERS_H

#include <stdbool.h>

#include "lib/err.h"
#include "lib/str.h"

struct auth_users;

/* Makes the file (0640, group `group` when not NULL) if it is not there. Waits
 * for another who has it open. */
int auth_users_open(const char *database, const char *realm, const char *group,
		    struct auth_users **out, struct err *err);
/* To list only; -EWOULDBLOCK where another has it open, who may be asking for a
 * password. */
int auth_users_look(const char *database, const char *realm,
		    struct auth_users **out, struct err *err);
void auth_users_close(struct auth_users *users);

/* -EEXIST when the login is there already. name: 1..255 bytes, no control
 * characters, no '@realm' added. password is not kept. */
int auth_users_add(struct auth_users *users, const char *name,
		   const char *password, struct err *err);
/* -ENOENT when there is no such login. */
int auth_users_passwd(struct auth_users *users, const char *name,
		      const char *password, struct err *err);
int auth_users_remove(struct auth_users *users, const char *name,
		      struct err *err);
/* Sorted by octets. */
int auth_users_list(struct auth_users *users,
		    void (*each)(void *arg, const char *name), void *arg,
		    struct err *err);

/* NAME in a line "NAME@REALM: property" of what lists a sasldb; lent from the
 * line, any octets. False: it tells of no login of ours. */
bool auth_users_name(const char *realm, struct str line, struct str *out);

#endif
