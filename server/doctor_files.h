/* SPDX-License-Identifier: ISC */
/*
 * server/doctor_files.h - can the daemon use the files that it is told of?
 *
 * Passwords for smarthosts, Maildirs' folders, sockets of LMTP: what is wrong
 * with them shows with the first message else. Only rights are looked at, by
 * the daemon itself; nothing is opened.
 */
#ifndef OSTLER_SERVER_DOCTOR_FILES_H
#define OSTLER_SERVER_DOCTOR_FILES_H

struct config;

/* One finding; all texts are lent for the call. state: "ok", "warn", "fail" */
typedef void doctor_files_fn(void *arg, const char *check, const char *about,
			     const char *state, const char *text,
			     const char *advice);

/* Calls say for each of them, the first DOCTOR_FILES_MAX. */
void doctor_files(const struct config *config, doctor_files_fn *say, void *arg);

/* Says how `user` gets the right to read path. */
#define DOCTOR_ADVICE_MAX 1200
void doctor_files_let_read(const char *user, const char *path,
			   char out[DOCTOR_ADVICE_MAX]);

#define DOCTOR_FILES_MAX 50

#endif
