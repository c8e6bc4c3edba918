/* SPDX-License-Identifier: ISC */
/*
 * server/place.h - folders and sockets that root makes for somebody else
 *
 * A start as root makes a few things before it gives its rights up, and the
 * folder they are made in may belong to somebody who would like root to change
 * another file: he puts a symbolic link in the place of what was just made.
 * Nothing here follows one, and owner and mode change of the new thing alone.
 */
#ifndef OSTLER_SERVER_PLACE_H
#define OSTLER_SERVER_PLACE_H

#include <sys/types.h>

#include "lib/err.h"

/* Whose it becomes; used by root only, others make their own. */
struct place_owner {
	uid_t uid;
	gid_t gid;
};

/*
 * Makes a folder when it is missing; one that is there is not touched.
 *
 * mode  of a new one, whatever the umask
 * Returns 0, or a negative errno with "folder 'PATH': why".
 */
int place_folder(const char *path, mode_t mode, struct place_owner owner,
		 struct err *err);

/*
 * Binds a unix socket and listens on it, replacing one that nobody serves.
 * Nobody can connect before mode and owner are set. Sets the umask meanwhile,
 * so files that other threads make must name a mode without rights for others.
 *
 * owner  NULL: who calls
 * Returns the descriptor, or a negative errno with "socket 'PATH': why".
 */
int place_socket(const char *path, mode_t mode, const struct place_owner *owner,
		 struct err *err);

#endif
