/* SPDX-License-Identifier: ISC */
#include "lib/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#if defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* reflected */

/*
 * The instruction has a latency of three cycles and a throughput of one, so
 * three lanes of this many bytes run side by side and are then joined.
 */
#define LANE 1024

static uint32_t slice[8][256]; /* slice[k][b]: b, then k zero bytes */
static uint32_t shift[4][256]; /* a checksum moved over LANE zero bytes */
static bool has_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t
after_zeros(uint32_t crc, size_t count)
{
	while (count-- > 0)
		crc = slice[0][crc & 0xff] ^ (crc >> 8);
	return crc;
}

static void
prepare(void)
{
	uint32_t basis[32];

	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
		slice[0][i] = crc;
	}
	for (unsigned k = 1; k < 8; k++)
		for (uint32_t i = 0; i < 256; i++)
			slice[k][i] = slice[0][slice[k - 1][i] & 0xff] ^
				      (slice[k - 1][i] >> 8);
	/* linear: a shifted checksum is the sum of its shifted bits */
	for (unsigned bit = 0; bit < 32; bit++)
		basis[bit] = after_zeros((uint32_t)1 << bit, LANE);
	for (unsigned k = 0; k < 4; k++)
		for (unsigned i = 0; i < 256; i++)
			for (unsigned bit = 0; bit < 8; bit++)
				if ((i >> bit & 1) != 0)
					shift[k][i] ^= basis[8 * k + bit];
#if defined(__x86_64__) || defined(__i386__)
	has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#elif defined(__aarch64__)
	has_instruction = (getauxval(AT_HWCAP) & (1ul << 7)) != 0;
#endif
}

static uint64_t
load_le64(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

static uint32_t
by_table(uint32_t crc, const uint8_t *at, size_t len)
{
	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word = load_le64(at) ^ crc;

		crc = 0;
		for (unsigned k = 0; k < 8; k++)
			crc ^= slice[7 - k][word >> (8 * k) & 0xff];
	}
	for (; len > 0; at++, len--)
		crc = slice[0][(crc ^ *at) & 0xff] ^ (crc >> 8);
	return crc;
}

uint32_t
crc32c_by_table(uint32_t crc, const void *bytes, size_t len)
{
	(void)pthread_once(&once, prepare); /* cannot fail with this control */
	return ~by_table(~crc, bytes, len);
}

#if defined(__x86_64__) || defined(__aarch64__)

#if defined(__x86_64__)
#define TARGET		 __attribute__((target("sse4.2")))
#define STEP8(crc, word) ((uint32_t)__builtin_ia32_crc32di(crc, word))
#define STEP1(crc, byte) __builtin_ia32_crc32qi(crc, byte)
#else
#define TARGET		 __attribute__((target("+crc")))
#define STEP8(crc, word) __crc32cd(crc, word)
#define STEP1(crc, byte) __crc32cb(crc, byte)
#endif

static uint32_t
over_lane(uint32_t crc)
{
	return shift[0][crc & 0xff] ^ shift[1][crc >> 8 & 0xff] ^
	       shift[2][crc >> 16 & 0xff] ^ shift[3][crc >> 24];
}

TARGET static uint32_t
by_instruction(uint32_t crc, const uint8_t *at, size_t len)
{
	for (; len >= 3 * LANE; at += 3 * LANE, len -= 3 * LANE) {
		uint32_t second = 0, third = 0;

		for (size_t i = 0; i < LANE; i += 8) {
			crc = STEP8(crc, load_le64(at + i));
			second = STEP8(second, load_le64(at + LANE + i));
			third = STEP8(third, load_le64(at + 2 * LANE + i));
		}
		crc = over_lane(over_lane(crc) ^ second) ^ third;
	}
	for (; len >= 8; at += 8, len -= 8)
		crc = STEP8(crc, load_le64(at));
	for (; len > 0; at++, len--)
		crc = STEP1(crc, *at);
	return crc;
}
#else
#define by_instruction by_table
#endif

uint32_t
crc32c(uint32_t crc, const void *bytes, size_t len)
{
	(void)pthread_once(&once, prepare);
	if (has_instruction)
		return ~by_instruction(~crc, bytes, len);
	return ~by_table(~crc, bytes, len);
}
