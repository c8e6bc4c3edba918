/* SPDX-License-Identifier: ISC */
#include "lib/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"

#define LOG_BUFFER_MAX (1u << 20)
/* room that a line's end needs: a closing brace and a newline */
#define LOG_TAIL 4
/* octets of one value as it is written, all escapes included, so that nobody
 * fills a line with his own words alone */
#define LOG_QUOTED_MAX (2 * LOG_VALUE_MAX)
/* a field that cannot have its key and this much more is left out */
#define LOG_FIELD_MIN 32

static struct {
	enum log_format format;
	enum log_level level;
	bool has_time;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t writer;
	bool is_running, is_stopping;
	struct buf filling; /* under lock */
	uint64_t dropped;   /* under lock */
} logger = {
	.level = LOG_LEVEL_INFO,
	.has_time = true,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void
log_configure(enum log_format format, enum log_level level, bool has_time)
{
	logger.format = format;
	logger.level = level;
	logger.has_time = has_time;
}

bool
log_is_on(enum log_level level)
{
	return level <= logger.level;
}

static void
log_write_all(const uint8_t *at, size_t len)
{
	while (len != 0) {
		ssize_t n = write(STDERR_FILENO, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nowhere left to say so */
		at += n;
		len -= (size_t)n;
	}
}

/* Under lock: takes over what is buffered, with a note about drops. */
static void
log_take(struct buf *out)
{
	*out = logger.filling;
	buf_init(&logger.filling, LOG_BUFFER_MAX);
	if (logger.dropped != 0) {
		out->max_bytes += 128;
		(void)buf_addf(out,
			       logger.format == LOG_FORMAT_JSON
				       ? "{\"level\":\"warn\",\"event\":"
					 "\"log\",\"dropped\":%llu}\n"
				       : "warn log dropped=%llu\n",
			       (unsigned long long)logger.dropped);
		logger.dropped = 0;
	}
}

static void *
log_writer(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&logger.lock);
	for (;;) {
		struct buf lines;

		while (buf_len(&logger.filling) == 0 && !logger.is_stopping)
			pthread_cond_wait(&logger.wake, &logger.lock);
		if (buf_len(&logger.filling) == 0)
			break;
		log_take(&lines);
		pthread_mutex_unlock(&logger.lock);
		log_write_all(buf_bytes(&lines), buf_len(&lines));
		buf_done(&lines);
		pthread_mutex_lock(&logger.lock);
	}
	pthread_mutex_unlock(&logger.lock);
	return NULL;
}

void
log_start(void)
{
	buf_init(&logger.filling, LOG_BUFFER_MAX);
	logger.is_stopping = false;
	if (pthread_create(&logger.writer, NULL, log_writer, NULL) == 0)
		logger.is_running = true;
}

void
log_stop(void)
{
	if (!logger.is_running)
		return;
	pthread_mutex_lock(&logger.lock);
	logger.is_stopping = true;
	pthread_cond_signal(&logger.wake);
	pthread_mutex_unlock(&logger.lock);
	pthread_join(logger.writer, NULL);
	logger.is_running = false;
	buf_done(&logger.filling);
}

void
log_flush(void)
{
	if (!logger.is_running)
		return;
	pthread_mutex_lock(&logger.lock);
	if (buf_len(&logger.filling) != 0)
		pthread_cond_signal(&logger.wake);
	pthread_mutex_unlock(&logger.lock);
}

static void
log_put(struct log_line *line, const char *bytes, size_t len)
{
	size_t room = sizeof(line->text) - LOG_TAIL - line->len;

	if (len > room)
		len = room;
	memcpy(line->text + line->len, bytes, len);
	line->len += len;
}

static void
log_puts(struct log_line *line, const char *text)
{
	log_put(line, text, strlen(text));
}

static size_t
log_room(const struct log_line *line)
{
	return sizeof(line->text) - LOG_TAIL - line->len;
}

/*
 * A quoted value: both formats escape alike, as JSON does. A C1 control is one
 * also in UTF-8, where it takes two octets: some terminals obey it.
 */
static void
log_put_quoted(struct log_line *line, struct str value)
{
	size_t begun = line->len;
	bool is_utf8 = str_is_utf8(value);

	log_puts(line, "\"");
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.at[i];
		bool goes_on = is_utf8 && (c & 0xc0) == 0x80;
		char escape[8];

		/* an escape is at most six bytes, a character four; neither is
		 * cut in the middle */
		if (!goes_on &&
		    (log_room(line) < 8 || line->len - begun > LOG_QUOTED_MAX))
			break;
		if (is_utf8 && c == 0xc2 &&
		    (unsigned char)value.at[i + 1] < 0xa0)
			c = (unsigned char)value.at[++i];
		if (c == '"' || c == '\\')
			(void)snprintf(escape, sizeof(escape), "\\%c", c);
		else if (c < ' ' || c == 0x7f ||
			 (c >= 0x80 && (!is_utf8 || (c < 0xa0 && !goes_on))))
			(void)snprintf(escape, sizeof(escape), "\\u%04x", c);
		else
			(void)snprintf(escape, sizeof(escape), "%c", c);
		log_puts(line, escape);
	}
	log_puts(line, "\"");
}

static bool
log_needs_quotes(struct str value)
{
	if (value.len == 0)
		return true;
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.at[i];

		if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
			return true;
	}
	return false;
}

/* False: the line is full, and its field is left out. */
static bool
log_put_key(struct log_line *line, const char *key)
{
	if (log_room(line) < strlen(key) + LOG_FIELD_MIN)
		return false;
	if (line->is_json) {
		log_puts(line, line->len > 1 ? ",\"" : "\"");
		log_puts(line, key);
		log_puts(line, "\":");
	} else {
		log_puts(line, " ");
		log_puts(line, key);
		log_puts(line, "=");
	}
	return true;
}

void
log_begin(struct log_line *line, enum log_level level, const char *event)
{
	char date[CLOCK_DATE_MAX];

	line->len = 0;
	line->is_on = log_is_on(level);
	if (!line->is_on)
		return;
	line->is_json = logger.format == LOG_FORMAT_JSON;
	if (logger.has_time)
		clock_format_rfc3339(clock_wall_ms(), date);
	if (line->is_json) {
		log_puts(line, "{");
		if (logger.has_time)
			log_text(line, "time", date);
		log_text(line, "level", level_names[level]);
		log_text(line, "event", event);
		return;
	}
	if (logger.has_time) {
		log_puts(line, date);
		log_puts(line, " ");
	}
	log_puts(line, level_names[level]);
	log_puts(line, " ");
	log_puts(line, event);
}

void
log_str(struct log_line *line, const char *key, struct str value)
{
	if (!line->is_on)
		return;
	if (value.len > LOG_VALUE_MAX) {
		value.len = LOG_VALUE_MAX;
		while (value.len != 0 &&
		       ((unsigned char)value.at[value.len] & 0xc0) == 0x80)
			value.len--;
	}
	if (!log_put_key(line, key))
		return;
	if (line->is_json || log_needs_quotes(value))
		log_put_quoted(line, value);
	else
		log_put(line, value.at, value.len);
}

void
log_text(struct log_line *line, const char *key, const char *value)
{
	if (value != NULL)
		log_str(line, key, str_of(value));
}

void
log_number(struct log_line *line, const char *key, int64_t value)
{
	char digits[STR_DIGITS_MAX];

	if (!line->is_on)
		return;
	if (!log_put_key(line, key))
		return;
	if (value < 0)
		log_puts(line, "-");
	(void)str_digits(digits, value < 0 ? -(uint64_t)value : (uint64_t)value,
			 1);
	log_puts(line, digits);
}

void
log_bool(struct log_line *line, const char *key, bool value)
{
	if (!line->is_on)
		return;
	if (!log_put_key(line, key))
		return;
	log_puts(line, line->is_json ? (value ? "true" : "false")
				     : (value ? "yes" : "no"));
}

void
log_textf(struct log_line *line, const char *key, const char *format, ...)
{
	char value[LOG_VALUE_MAX];
	va_list args;

	if (!line->is_on)
		return;
	va_start(args, format);
	(void)vsnprintf(value, sizeof(value), format, args);
	va_end(args);
	log_text(line, key, value);
}

void
log_end(struct log_line *line)
{
	if (!line->is_on)
		return;
	if (line->is_json)
		line->text[line->len++] = '}';
	line->text[line->len++] = '\n';
	if (!logger.is_running) {
		log_write_all((const uint8_t *)line->text, line->len);
		return;
	}
	pthread_mutex_lock(&logger.lock);
	if (buf_add(&logger.filling, line->text, line->len) < 0)
		logger.dropped++;
	pthread_mutex_unlock(&logger.lock);
}
