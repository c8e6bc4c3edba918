/* SPDX-License-Identifier: ISC */
/*
 * tests/bounces/score.c - how well the rules know real replies
 *
 *	score [-v] [-f] [-r RULES] [-a ACCURACY] [-m MACRO-F1] [-c F1] FILE.tsv
 *
 * FILE has a header line, then code, enhanced code, text and category parted
 * by tabs. Prints accuracy, precision, recall and F1 of each category and
 * their mean, and the time a reply takes; -v each wrong row too. -f adds a
 * five-fold check: the rows are dealt into five parts, and each part is
 * judged without those rules that decide no row of the four others, which is
 * how rules would do that were written for the four others alone. Exit 1 when
 * a floor is missed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/rules_builtin.h"

#define ROWS_MAX 20000
#define FOLDS	 5

struct row {
	char *reply;
	enum category want, got;
	char rule[CLASSIFY_RULE_MAX + 1];
	char words[CLASSIFY_WORDS_MAX + 1];
};

struct score {
	double accuracy, macro_f1, worst_f1;
};

static struct row rows[ROWS_MAX];
static size_t row_count;

static char *
read_file(const char *path)
{
	struct buf buf;
	char chunk[65536];
	FILE *file = fopen(path, "rb");
	char *text;
	size_t got;

	if (file == NULL) {
		perror(path);
		exit(2);
	}
	buf_init(&buf, 64u << 20);
	for (got = fread(chunk, 1, sizeof(chunk), file); got > 0;
	     got = fread(chunk, 1, sizeof(chunk), file))
		if (buf_add(&buf, chunk, got) != 0) {
			fprintf(stderr, "%s: too large\n", path);
			exit(2);
		}
	fclose(file);
	text = mem_strdup(buf_text(&buf));
	buf_done(&buf);
	return text;
}

static void
read_rows(const char *path)
{
	char *text = read_file(path);
	struct str rest = str_of(text), line, field[4];
	unsigned number = 0;

	while (str_cut(&rest, '\n', &line)) {
		struct row *row = &rows[row_count];
		char name[40];

		if (number++ == 0 || line.len == 0)
			continue;
		for (size_t i = 0; i < 4; i++)
			if (!str_cut(&line, '\t', &field[i]))
				field[i] = str_of("");
		str_copy(name, sizeof(name), field[3]);
		if (row_count == ROWS_MAX ||
		    !category_parse(name, &row->want)) {
			fprintf(stderr, "%s:%u: category '%s'\n", path, number,
				name);
			exit(2);
		}
		if (str_is(field[0], "-"))
			field[0].len = 0;
		if (str_is(field[1], "-"))
			field[1].len = 0;
		row->reply =
			mem_printf("%.*s%s%.*s%s%.*s", STR_ARG(field[0]),
				   field[0].len ? " " : "", STR_ARG(field[1]),
				   field[1].len ? " " : "", STR_ARG(field[2]));
		row_count++;
	}
	free(text);
}

static void
classify_row(const struct classifier *classifier, struct row *row)
{
	struct classification got;

	classify_reply(classifier, row->reply, PHASE_NONE, &got);
	row->got = got.category;
	memcpy(row->rule, got.rule, sizeof(row->rule));
	memcpy(row->words, got.words, sizeof(row->words));
}

static struct score
count_score(bool is_printed)
{
	struct score score = {0, 0, 1};
	unsigned right = 0, categories = 0;

	for (int c = 0; c < CATEGORY_COUNT; c++) {
		unsigned hit = 0, wanted = 0, given = 0;
		double precision, recall, f1;

		for (size_t i = 0; i < row_count; i++) {
			wanted += rows[i].want == (enum category)c;
			given += rows[i].got == (enum category)c;
			hit += rows[i].want == (enum category)c &&
			       rows[i].got == rows[i].want;
		}
		if (wanted == 0)
			continue;
		precision = given != 0 ? (double)hit / given : 0;
		recall = (double)hit / wanted;
		f1 = hit != 0 ? 2 * precision * recall / (precision + recall)
			      : 0;
		right += hit;
		categories++;
		score.macro_f1 += f1;
		if (f1 < score.worst_f1)
			score.worst_f1 = f1;
		if (is_printed)
			printf("%-20s rows %4u  precision %.3f  recall %.3f  "
			       "F1 %.3f\n",
			       category_name((enum category)c), wanted,
			       precision, recall, f1);
	}
	score.accuracy = row_count ? (double)right / row_count : 0;
	score.macro_f1 = categories ? score.macro_f1 / categories : 0;
	return score;
}

/* The rules without those lines whose ids decide no row outside the fold. */
static char *
rules_for_fold(const char *rules, size_t fold)
{
	struct str rest = str_of(rules), line;
	struct buf out;
	char *text;
	bool is_needed = true;

	buf_init(&out, 4u << 20);
	while (str_cut(&rest, '\n', &line)) {
		struct str left = line, id = line;
		bool is_more = line.len != 0 &&
			       (line.at[0] == ' ' || line.at[0] == '\t');

		if (!is_more)
			is_needed = line.len == 0 || line.at[0] == '#' ||
				    str_starts_nocase(line, "let ");
		str_cut(&left, ' ', &id);
		for (size_t i = 0; i < row_count && !is_needed && !is_more; i++)
			is_needed =
				i % FOLDS != fold && str_is(id, rows[i].rule);
		if (is_needed && buf_addf(&out, "%.*s\n", STR_ARG(line)) != 0)
			exit(2);
	}
	text = mem_strdup(buf_text(&out));
	buf_done(&out);
	return text;
}

static struct classifier *
load(const char *rules, const char *name)
{
	struct classifier *classifier;
	struct err err = ERR_INIT;

	if (classifier_load(NULL, NULL, rules, name, &classifier, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(2);
	}
	return classifier;
}

static void
five_folds(const char *rules)
{
	enum category *got = mem_alloc(ROWS_MAX * sizeof(*got));
	struct score score;

	for (size_t fold = 0; fold < FOLDS; fold++) {
		char *text = rules_for_fold(rules, fold);
		struct classifier *classifier = load(text, "fold");
		struct classification one;

		for (size_t i = fold; i < row_count; i += FOLDS) {
			classify_reply(classifier, rows[i].reply, PHASE_NONE,
				       &one);
			got[i] = one.category;
		}
		classifier_unref(classifier);
		free(text);
	}
	for (size_t i = 0; i < row_count; i++)
		rows[i].got = got[i];
	free(got);
	score = count_score(false);
	printf("five-fold: accuracy %.3f  macro-F1 %.3f  worst F1 %.3f\n",
	       score.accuracy, score.macro_f1, score.worst_f1);
}

static void
print_speed(const struct classifier *classifier)
{
	struct classification one;
	struct timespec from, to;
	unsigned rounds = 20;
	double us;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned r = 0; r < rounds; r++)
		for (size_t i = 0; i < row_count; i++)
			classify_reply(classifier, rows[i].reply, PHASE_NONE,
				       &one);
	clock_gettime(CLOCK_MONOTONIC, &to);
	us = (double)(to.tv_sec - from.tv_sec) * 1e6 +
	     (double)(to.tv_nsec - from.tv_nsec) / 1e3;
	printf("%.1f us a reply, %zu rules\n", us / rounds / (double)row_count,
	       classifier_rule_count(classifier));
}

int
main(int argc, char **argv)
{
	double floor_accuracy = 0, floor_macro = 0, floor_category = 0;
	bool is_verbose = false, has_folds = false;
	const char *rules_path = NULL;
	char *rules;
	struct classifier *classifier;
	struct score score;
	int option;

	while ((option = getopt(argc, argv, "vfr:a:m:c:")) != -1) {
		switch (option) {
		case 'v':
			is_verbose = true;
			break;
		case 'f':
			has_folds = true;
			break;
		case 'r':
			rules_path = optarg;
			break;
		case 'a':
			floor_accuracy = strtod(optarg, NULL);
			break;
		case 'm':
			floor_macro = strtod(optarg, NULL);
			break;
		case 'c':
			floor_category = strtod(optarg, NULL);
			break;
		default:
			return 2;
		}
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: score [-vf] [-r RULES] [-a ACCURACY] "
				"[-m MACRO-F1] [-c F1] FILE.tsv\n");
		return 2;
	}
	rules = rules_path != NULL ? read_file(rules_path)
				   : mem_strdup(rules_builtin_text);
	classifier = load(rules, rules_path != NULL ? rules_path : "built-in");
	read_rows(argv[optind]);
	for (size_t i = 0; i < row_count; i++) {
		classify_row(classifier, &rows[i]);
		if (is_verbose && rows[i].got != rows[i].want)
			printf("want %s, got %s by %s '%s': %s\n",
			       category_name(rows[i].want),
			       category_name(rows[i].got), rows[i].rule,
			       rows[i].words, rows[i].reply);
	}
	score = count_score(true);
	printf("%zu rows: accuracy %.3f  macro-F1 %.3f  worst F1 %.3f\n",
	       row_count, score.accuracy, score.macro_f1, score.worst_f1);
	print_speed(classifier);
	if (has_folds)
		five_folds(rules);
	for (size_t i = 0; i < row_count; i++)
		free(rows[i].reply);
	classifier_unref(classifier);
	free(rules);
	return score.accuracy >= floor_accuracy &&
			       score.macro_f1 >= floor_macro &&
			       score.worst_f1 >= floor_category
		       ? 0
		       : 1;
}
