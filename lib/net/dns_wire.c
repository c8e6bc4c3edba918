/* SPDX-License-Identifier: ISC */
#include "lib/net/dns_wire.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

#define HEADER_LEN  12
#define NAME_MAX_   255 /* octets on the wire, RFC 1035, 2.3.4 */
#define LABEL_MAX   63
#define CHAIN_MAX   16	 /* CNAMEs passed */
#define RECORDS_MAX 1024 /* of the type asked for */

#define CLASS_IN    1
#define TYPE_NS	    2
#define TYPE_OPT    41
#define OPTION_EDE  15
#define FLAG_QR	    0x80 /* third octet */
#define FLAG_OPCODE 0x78
#define FLAG_TC	    0x02
#define FLAG_RD	    0x01
#define FLAG_RA	    0x80 /* fourth octet */
#define FLAG_AD	    0x20

/* A place in a packet; is_bad is sticky and reading goes on with zeros. */
struct reader {
	const uint8_t *packet;
	size_t len;
	size_t at;
	bool is_bad;
};

struct section_record {
	char owner[DNS_NAME_TEXT_MAX];
	uint16_t type, class;
	uint32_t ttl; /* RFC 2181, 8: with the top bit set it is 0 */
	uint32_t raw_ttl;
	size_t data_at, data_len;
};

/* What reading the packet found so far. */
struct walk {
	struct reader start; /* of the answer section */
	unsigned answers, authorities, additionals;
	uint16_t type;
	char name[DNS_NAME_TEXT_MAX]; /* moves along the CNAMEs */
	uint32_t chain_ttl;
	unsigned hops;
};

const char *
dns_type_name(uint16_t type)
{
	static const struct {
		uint16_t type;
		const char *name;
	} names[] = {
		{DNS_A, "A"},	    {DNS_CNAME, "CNAME"}, {DNS_SOA, "SOA"},
		{DNS_PTR, "PTR"},   {DNS_MX, "MX"},	  {DNS_TXT, "TXT"},
		{DNS_AAAA, "AAAA"}, {DNS_TLSA, "TLSA"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == type)
			return names[i].name;
	return "?";
}

/* ---------------------------------------------------------------- writing */

static void
put_u16(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

/* Returns the octets written, 0 when it is no name. */
static size_t
name_encode(const char *name, uint8_t *to)
{
	size_t used = 0;

	while (*name != '\0') {
		size_t label = strcspn(name, ".");

		if (label == 0 || label > LABEL_MAX ||
		    used + 1 + label + 1 > NAME_MAX_ ||
		    memchr(name, '\\', label) != NULL)
			return 0;
		to[used] = (uint8_t)label;
		memcpy(to + used + 1, name, label);
		used += 1 + label;
		name += label;
		if (*name == '.') {
			name++;
			if (*name == '\0')
				return 0;
		}
	}
	to[used] = 0;
	return used + 1;
}

size_t
dns_wire_question(const char *name, uint16_t type, bool has_edns, uint8_t *to)
{
	size_t at;

	memset(to, 0, HEADER_LEN);
	to[2] = FLAG_RD;
	to[3] = FLAG_AD;
	put_u16(to + 4, 1);
	put_u16(to + 10, has_edns ? 1 : 0);
	at = name_encode(name, to + HEADER_LEN);
	if (at == 0)
		return 0;
	at += HEADER_LEN;
	put_u16(to + at, type);
	put_u16(to + at + 2, CLASS_IN);
	at += 4;
	if (!has_edns)
		return at;
	/* RFC 6891, 6.1.2: root, OPT, size, extended rcode and flags, length */
	memset(to + at, 0, 11);
	put_u16(to + at + 1, TYPE_OPT);
	put_u16(to + at + 3, DNS_EDNS_SIZE);
	return at + 11;
}

/* ---------------------------------------------------------------- reading */

static unsigned
read_u8(struct reader *in)
{
	if (in->is_bad || in->len - in->at < 1) {
		in->is_bad = true;
		return 0;
	}
	return in->packet[in->at++];
}

static unsigned
read_u16(struct reader *in)
{
	unsigned high = read_u8(in);

	return high << 8 | read_u8(in);
}

static uint32_t
read_u32(struct reader *in)
{
	uint32_t high = read_u16(in);

	return high << 16 | read_u16(in);
}

static void
skip(struct reader *in, size_t len)
{
	if (in->is_bad || in->len - in->at < len)
		in->is_bad = true;
	else
		in->at += len;
}

/* One octet of a label as text; returns the characters written. */
static size_t
put_octet(char *to, unsigned octet, bool is_lowered)
{
	if (octet > 0x20 && octet < 0x7f && octet != '.' && octet != '\\') {
		to[0] = (char)octet;
		if (is_lowered)
			to[0] = str_lower(to[0]);
		return 1;
	}
	to[0] = '\\';
	to[1] = (char)('0' + octet / 100);
	to[2] = (char)('0' + octet / 10 % 10);
	to[3] = (char)('0' + octet % 10);
	return 4;
}

/*
 * Reads a name with its compression (RFC 1035, 4.1.4). Each pointer must lead
 * before the place where the labels that ended in it began, so this ends.
 */
static void
read_name(struct reader *in, bool is_lowered, char to[DNS_NAME_TEXT_MAX])
{
	size_t at = in->at, segment = in->at, wire = 1, used = 0;
	bool has_jumped = false;

	to[0] = '\0';
	while (!in->is_bad) {
		unsigned len;

		if (at >= in->len)
			break;
		len = in->packet[at];
		if (len == 0) {
			if (!has_jumped)
				in->at = at + 1;
			to[used] = '\0';
			return;
		}
		if ((len & 0xc0) == 0xc0) {
			size_t target;

			if (in->len - at < 2)
				break;
			target = (size_t)(len & 0x3f) << 8 | in->packet[at + 1];
			if (target >= segment)
				break;
			if (!has_jumped)
				in->at = at + 2;
			has_jumped = true;
			at = segment = target;
			continue;
		}
		wire += len + 1;
		if (len > LABEL_MAX || in->len - at < 1 + len ||
		    wire > NAME_MAX_)
			break;
		if (used != 0)
			to[used++] = '.';
		for (unsigned i = 0; i < len; i++)
			used += put_octet(to + used, in->packet[at + 1 + i],
					  is_lowered);
		at += 1 + len;
	}
	to[0] = '\0';
	in->is_bad = true;
}

static void
read_record(struct reader *in, struct section_record *out)
{
	read_name(in, true, out->owner);
	out->type = (uint16_t)read_u16(in);
	out->class = (uint16_t)read_u16(in);
	out->raw_ttl = read_u32(in);
	out->ttl = out->raw_ttl > INT32_MAX ? 0 : out->raw_ttl;
	out->data_len = read_u16(in);
	out->data_at = in->at;
	skip(in, out->data_len);
}

/* The record's data as a reader of its own: names may point before it. */
static struct reader
data_reader(const struct reader *in, const struct section_record *record)
{
	return (struct reader){
		.packet = in->packet,
		.len = record->data_at + record->data_len,
		.at = record->data_at,
	};
}

static bool
data_is_spent(const struct reader *data)
{
	return !data->is_bad && data->at == data->len;
}

static char *
read_owned_name(struct reader *data)
{
	char name[DNS_NAME_TEXT_MAX];

	read_name(data, true, name);
	return mem_strdup(name);
}

static struct ip
ip_of(int family, const uint8_t *bytes)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	/* by way of sockaddr: there IPv4 inside IPv6 is folded */
	if (family == AF_INET) {
		memcpy(&in.sin_addr, bytes, 4);
		return ip_from_sockaddr((const struct sockaddr *)&in, NULL);
	}
	memcpy(&in6.sin6_addr, bytes, 16);
	return ip_from_sockaddr((const struct sockaddr *)&in6, NULL);
}

/* TXT-DATA: one or more <character-string>s (RFC 1035, 3.3.14), joined. */
static bool
parse_text(struct reader *data, struct dns_record *out)
{
	out->data = mem_alloc(data->len - data->at + 1);
	while (!data->is_bad && data->at < data->len) {
		size_t len = read_u8(data);
		const uint8_t *from = data->packet + data->at;

		skip(data, len);
		if (data->is_bad)
			break;
		memcpy(out->data + out->len, from, len);
		out->len += len;
	}
	out->data[out->len] = '\0'; /* readable as a text where it is one */
	return data_is_spent(data);
}

/* False: malformed. out is then still safe to free. */
static bool
parse_data(const struct reader *in, const struct section_record *record,
	   struct dns_record *out)
{
	struct reader data = data_reader(in, record);
	const uint8_t *bytes = in->packet + record->data_at;

	memset(out, 0, sizeof(*out));
	out->ttl = record->ttl;
	switch (record->type) {
	case DNS_A:
		if (record->data_len != 4)
			return false;
		out->ip = ip_of(AF_INET, bytes);
		return true;
	case DNS_AAAA:
		if (record->data_len != 16)
			return false;
		out->ip = ip_of(AF_INET6, bytes);
		return true;
	case DNS_MX:
		out->preference = (uint16_t)read_u16(&data);
		out->name = read_owned_name(&data);
		return data_is_spent(&data);
	case DNS_CNAME:
	case DNS_PTR:
		out->name = read_owned_name(&data);
		return data_is_spent(&data);
	case DNS_TXT:
		return parse_text(&data, out);
	default:
		out->data = (uint8_t *)mem_dup(bytes, record->data_len);
		out->len = record->data_len;
		return true;
	}
}

void
dns_records_free(struct dns_record *records, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(records[i].name);
		free(records[i].data);
	}
	free(records);
}

void
dns_answer_done(struct dns_answer *answer)
{
	free(answer->canonical);
	dns_records_free(answer->records, answer->count);
	memset(answer, 0, sizeof(*answer));
}

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void
fail(struct dns_answer *out, enum dns_answer_kind kind, const char *why)
{
	out->kind = kind;
	out->why = why;
}

static const char *
rcode_text(unsigned rcode)
{
	switch ((enum dns_rcode)rcode) {
	case DNS_RCODE_NOERROR:
		return "NOERROR";
	case DNS_RCODE_FORMERR:
		return "FORMERR";
	case DNS_RCODE_SERVFAIL:
		return "SERVFAIL";
	case DNS_RCODE_NXDOMAIN:
		return "NXDOMAIN";
	case DNS_RCODE_NOTIMP:
		return "NOTIMP";
	case DNS_RCODE_REFUSED:
		return "REFUSED";
	case DNS_RCODE_BADVERS:
		return "BADVERS";
	}
	return "unknown error code";
}

/* Header and question. False: out says what it is. */
static bool
read_head(struct reader *in, const char *name, struct walk *walk,
	  struct dns_answer *out)
{
	char echoed[DNS_NAME_TEXT_MAX];
	unsigned questions, type, class;

	if (in->len < HEADER_LEN || (in->packet[2] & FLAG_QR) == 0 ||
	    (in->packet[2] & FLAG_OPCODE) != 0) {
		fail(out, DNS_ANSWER_FOREIGN, "not an answer");
		return false;
	}
	in->at = 4;
	questions = read_u16(in);
	walk->answers = read_u16(in);
	walk->authorities = read_u16(in);
	walk->additionals = read_u16(in);
	out->rcode = in->packet[3] & 0x0f;
	out->has_ad = (in->packet[3] & FLAG_AD) != 0;
	if (questions != 1) {
		fail(out, DNS_ANSWER_FOREIGN, "answer without the question");
		return false;
	}
	read_name(in, false, echoed);
	type = read_u16(in);
	class = read_u16(in);
	if (in->is_bad || type != walk->type || class != CLASS_IN ||
	    !str_equal_nocase(str_of(echoed), str_of(name))) {
		fail(out, DNS_ANSWER_FOREIGN, "answer to another question");
		return false;
	}
	out->is_case_kept = strcmp(echoed, name) == 0;
	str_lower_all(echoed);
	(void)str_copy(walk->name, sizeof(walk->name), str_of(echoed));
	walk->start = *in;
	return true;
}

/* The options of an OPT record (RFC 6891, 6.1.2; RFC 8914, 2). */
static bool
read_options(struct reader data, struct dns_answer *out)
{
	while (!data.is_bad && data.at < data.len) {
		unsigned code = read_u16(&data), len = read_u16(&data);
		struct reader option = data;

		skip(&data, len);
		if (code == OPTION_EDE && !data.is_bad && len >= 2) {
			unsigned info = read_u16(&option);

			out->is_stale |= info == 3 || info == 19;
			out->is_bogus |= info >= 6 && info <= 12;
		}
	}
	return !data.is_bad;
}

/* What stands behind the answers: SOA and NS of the authority, OPT. */
struct tail {
	bool has_soa, has_ns, has_opt;
	uint32_t soa_ttl;
};

/*
 * The SOA of a negative answer: the smaller of its own TTL and of its last
 * field (RFC 2308, 5). It must be of a zone that holds the name.
 */
static bool
read_soa(const struct reader *in, const struct section_record *record,
	 const char *name, struct tail *tail)
{
	struct reader data = data_reader(in, record);
	size_t name_len = strlen(name), zone_len = strlen(record->owner);
	char skipped[DNS_NAME_TEXT_MAX];
	uint32_t minimum;

	read_name(&data, true, skipped);
	read_name(&data, true, skipped);
	skip(&data, 16);
	minimum = read_u32(&data);
	if (!data_is_spent(&data))
		return false;
	if (zone_len > name_len ||
	    strcmp(name + name_len - zone_len, record->owner) != 0 ||
	    (zone_len != 0 && zone_len != name_len &&
	     name[name_len - zone_len - 1] != '.'))
		return true;
	tail->soa_ttl = smaller(record->ttl, minimum > INT32_MAX ? 0 : minimum);
	tail->has_soa = true;
	return true;
}

/* False: malformed. */
static bool
read_tail(struct reader in, const struct walk *walk, struct tail *tail,
	  struct dns_answer *out)
{
	struct section_record record;

	for (unsigned i = 0; i < walk->authorities && !in.is_bad; i++) {
		read_record(&in, &record);
		if (in.is_bad || record.class != CLASS_IN)
			continue;
		if (record.type == TYPE_NS)
			tail->has_ns = true;
		if (record.type == DNS_SOA &&
		    !read_soa(&in, &record, walk->name, tail))
			return false;
	}
	for (unsigned i = 0; i < walk->additionals && !in.is_bad; i++) {
		read_record(&in, &record);
		if (in.is_bad || record.type != TYPE_OPT)
			continue;
		if (tail->has_opt || record.owner[0] != '\0' ||
		    !read_options(data_reader(&in, &record), out))
			return false;
		tail->has_opt = true;
		out->rcode |= (unsigned)(record.raw_ttl >> 24) << 4;
	}
	return !in.is_bad;
}

enum step { STEP_END, STEP_CNAME, STEP_BAD };

/*
 * One pass over the answers: collects the records of walk->name, or moves it
 * along a CNAME. The order in the packet does not matter, so a chain takes a
 * pass for each of its links.
 */
static enum step
read_answers(struct walk *walk, struct reader *in, struct dns_answer *out)
{
	char target[DNS_NAME_TEXT_MAX];
	struct section_record record;
	bool has_cname = false;
	size_t capacity = 0;

	*in = walk->start;
	for (unsigned i = 0; i < walk->answers; i++) {
		read_record(in, &record);
		if (in->is_bad)
			return STEP_BAD;
		if (record.class != CLASS_IN ||
		    strcmp(record.owner, walk->name) != 0)
			continue;
		if (record.type == walk->type) {
			if (out->count == RECORDS_MAX)
				return STEP_BAD;
			if (out->count == capacity) {
				capacity = capacity == 0 ? 8 : capacity * 2;
				out->records =
					mem_resize(out->records, capacity,
						   sizeof(*out->records));
			}
			if (!parse_data(in, &record,
					&out->records[out->count++]))
				return STEP_BAD;
			out->ttl = smaller(out->ttl, record.ttl);
		} else if (record.type == DNS_CNAME && !has_cname) {
			struct reader data = data_reader(in, &record);

			read_name(&data, true, target);
			if (!data_is_spent(&data))
				return STEP_BAD;
			walk->chain_ttl = smaller(walk->chain_ttl, record.ttl);
			has_cname = true;
		}
	}
	if (out->count != 0 || !has_cname)
		return STEP_END;
	(void)str_copy(walk->name, sizeof(walk->name), str_of(target));
	return STEP_CNAME;
}

/* No record of the type: why not, and for how long? (RFC 2308, 2) */
static void
judge_negative(const struct walk *walk, const struct tail *tail, bool is_final,
	       struct dns_answer *out)
{
	out->ttl = tail->has_soa ? smaller(tail->soa_ttl, walk->chain_ttl) : 0;
	if (out->rcode == DNS_RCODE_NXDOMAIN) {
		out->kind = DNS_ANSWER_NXDOMAIN;
	} else if (!tail->has_soa &&
		   (tail->has_ns || (walk->hops != 0 && !is_final))) {
		/* a referral, or a chain that leaves what the server knows */
		fail(out, DNS_ANSWER_LAME, "the server does not resolve");
	} else {
		out->kind = DNS_ANSWER_NODATA;
	}
}

static void
judge(struct reader *in, struct walk *walk, struct dns_answer *out)
{
	bool is_final = (in->packet[3] & FLAG_RA) != 0;
	struct tail tail = {0};
	enum step step;

	out->ttl = UINT32_MAX;
	do {
		step = read_answers(walk, in, out);
		if (step == STEP_CNAME && ++walk->hops > CHAIN_MAX)
			step = STEP_BAD;
	} while (step == STEP_CNAME);
	if (step == STEP_BAD || !read_tail(*in, walk, &tail, out)) {
		fail(out, DNS_ANSWER_MALFORMED, "malformed answer");
		return;
	}
	if (out->rcode != DNS_RCODE_NOERROR &&
	    out->rcode != DNS_RCODE_NXDOMAIN) {
		out->is_bogus =
			out->is_bogus && out->rcode == DNS_RCODE_SERVFAIL;
		fail(out, DNS_ANSWER_ERROR,
		     out->is_bogus ? "DNSSEC validation failed"
				   : rcode_text(out->rcode));
		return;
	}
	out->is_bogus = false; /* EDE only explains an error (RFC 8914, 1) */
	if (out->count != 0) {
		out->kind = DNS_ANSWER_RECORDS;
		out->ttl = smaller(out->ttl, walk->chain_ttl);
	} else {
		judge_negative(walk, &tail, is_final, out);
	}
	if (out->is_stale)
		out->ttl = 0;
	if (out->why == NULL)
		out->canonical = mem_strdup(walk->name);
}

void
dns_wire_answer(const uint8_t *packet, size_t len, const char *name,
		uint16_t type, struct dns_answer *out)
{
	struct reader in = {.packet = packet, .len = len};
	struct walk walk = {.type = type, .chain_ttl = UINT32_MAX};

	memset(out, 0, sizeof(*out));
	if (!read_head(&in, name, &walk, out))
		return;
	if ((packet[2] & FLAG_TC) != 0) {
		fail(out, DNS_ANSWER_TRUNCATED, "truncated answer");
		return;
	}
	judge(&in, &walk, out);
	if (out->kind == DNS_ANSWER_RECORDS)
		return;
	dns_records_free(out->records, out->count);
	out->records = NULL;
	out->count = 0;
	if (out->kind != DNS_ANSWER_NODATA && out->kind != DNS_ANSWER_NXDOMAIN)
		out->ttl = 0;
}

bool
dns_is_host_name(const char *name)
{
	bool is_number = true;
	size_t label = 0;

	for (const char *at = name; *at != '\0'; at++) {
		bool is_digit = *at >= '0' && *at <= '9';

		if (*at == '.') {
			if (label == 0)
				return false;
			label = 0;
			is_number = true;
			continue;
		}
		if (!is_digit && *at != '-' && *at != '_' &&
		    !(str_lower(*at) >= 'a' && str_lower(*at) <= 'z'))
			return false;
		if (++label > LABEL_MAX)
			return false;
		is_number = is_number && is_digit;
	}
	return label != 0 && !is_number && strlen(name) < NAME_MAX_;
}
