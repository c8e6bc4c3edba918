/* SPDX-License-Identifier: ISC */
/*
 * lib/crc32c.h - the Castagnoli checksum (RFC 3720, appendix B.4)
 *
 * By the processor's own instruction where it has one (SSE4.2, ARMv8 CRC),
 * found out at run time; else by tables. Any thread.
 */
#ifndef OSTLER_LIB_CRC32C_H
#define OSTLER_LIB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * Goes on with a checksum over len more bytes; 0 starts one. Pieces give the
 * same as the whole.
 *
 * bytes  borrows; may be NULL when len is 0
 */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The same by tables alone, for the test that compares them. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t len);

#endif
