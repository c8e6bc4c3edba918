/* SPDX-License-Identifier: ISC */
/*
 * tests/crash/trace.h - what a recorded run leaves behind
 *
 * One file of events in the order in which they happened, appended by the
 * recorder inside of the program, by whoever drives it (the marks), each
 * event with one write to a descriptor with O_APPEND. Native byte order: it
 * is read where it was written. tests/system/test_power_loss.py writes marks
 * as well.
 */
#ifndef OSTLER_TESTS_CRASH_TRACE_H
#define OSTLER_TESTS_CRASH_TRACE_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TRACE_MAGIC 0x4543415254534f00u

/* Paths are relative to the spool and end with a NUL. */
enum trace_type {
	TRACE_WRITE = 1,  /* a: inode, b: offset; the bytes */
	TRACE_SIZE,	  /* a: inode, b: its size from now on */
	TRACE_CREATE,	  /* a: inode; path */
	TRACE_MKDIR,	  /* a: inode; path */
	TRACE_UNLINK,	  /* path */
	TRACE_RENAME,	  /* two paths */
	TRACE_SYNC_BEGIN, /* a: inode, 0: all of the file system; b: which */
	TRACE_SYNC_END,	  /* b: which, c: 0 or errno */

	/* Marks. a: number of the message, which its body tells as well. */
	TRACE_SUBMITTED = 20, /* from now on it may be there */
	TRACE_ACKED,	      /* b: id; it was promised to be there */
	TRACE_SETTLING,	      /* from now on it may be gone */
	TRACE_STATE,	      /* c: number of a state of it that was promised */
	TRACE_REPLACED,	      /* b: number of the message that comes into
				 being by the same step in which a goes */
	TRACE_ID,	      /* b: an id that was given out */
	TRACE_WITH,	      /* b: number of the message that comes into
				 being by the same step as state c of a */
};

struct trace_event {
	uint64_t magic;
	uint32_t type;
	uint32_t len; /* of what follows */
	uint64_t a, b, c;
};

/*
 * The content of message number n: 64 bytes a line, size a multiple of 64.
 * Whoever finds it can tell whether it is all of it:
 *
 *	X-Crash: NNNNNNNN SSSSSSSS CR LF   number and size in hexadecimal
 *	a blank line of CR LF, then size bytes
 *
 * A message from <> is the report about the number that stands in it, and
 * has that number and TRACE_REPORT.
 */
#define TRACE_HEAD   "X-Crash: "
#define TRACE_REPORT 1000000000u

static inline uint8_t
trace_byte(uint64_t number, uint64_t at)
{
	uint64_t column = at % 64;

	if (column == 63)
		return '\n';
	if (column == 62)
		return '\r';
	return (uint8_t)('A' + (number * 7 + at / 64 + column) % 26);
}

/*
 * State number c of message a, without \n: few are as long as some sectors.
 * Numbers of one message rise, and are below TRACE_STATES.
 */
#define TRACE_STATES   512u
#define TRACE_LINE     "state "
#define TRACE_LINE_MAX 1024

static inline size_t
trace_line(uint64_t a, unsigned c, char to[TRACE_LINE_MAX])
{
	uint64_t dice = a * 37 + (uint64_t)c * 101;
	size_t len = (size_t)snprintf(to, TRACE_LINE_MAX,
				      TRACE_LINE "%u of %" PRIu64 " ", c, a);
	size_t more = dice % 5 == 0 ? 200 + dice % 700 : dice % 40;

	memset(to + len, '.', more);
	to[len + more] = '\0';
	return len + more;
}

#endif
