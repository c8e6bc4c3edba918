/* SPDX-License-Identifier: ISC */
/* Whoever sends, a stream ends as it should: the same tests, by threads. */
#define ENDS_BY_THREADS
#include "tests/unit/test_stream_end.c"
