/* SPDX-License-Identifier: ISC */
/* Whoever sends, a stream keeps its promises: the same tests, by threads. */
#define ENDS_BY_THREADS
#include "tests/unit/test_stream.c"
