/* SPDX-License-Identifier: ISC */
/*
 * The main of a fuzzer without a fuzzing engine: runs the files, and the
 * files in the folders, that its arguments name. Without arguments it takes
 * the folder corpus/NAME beside this file, NAME being its own without
 * "fuzz_", so that `make check` can just start it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1024 * 1024)
#define PATH_MAX_ 1024

static unsigned replayed;

static bool
replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data, *exact;
	size_t size;

	if (file == NULL) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	data = malloc(INPUT_MAX);
	FUZZ_CHECK(data != NULL);
	size = fread(data, 1, INPUT_MAX, file);
	(void)fclose(file); /* it was only read */
	exact = fuzz_copy(data, size);
	free(data);
	/* the last line names the file whose bytes broke a claim */
	(void)fprintf(stderr, "%s\n", path);
	(void)LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	replayed++;
	return true;
}

static bool
replay_path(const char *path)
{
	char below[PATH_MAX_];
	struct dirent *entry;
	struct stat st;
	bool ok = true;
	DIR *dir;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return replay_file(path);
	dir = opendir(path);
	if (dir == NULL) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	for (entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path,
			     entry->d_name) >= (int)sizeof(below))
			ok = false;
		else
			ok = replay_file(below) && ok;
	}
	(void)closedir(dir); /* it was only read */
	return ok;
}

int
main(int argc, char **argv)
{
	const char *srcdir = getenv("srcdir"), *name;
	char own[PATH_MAX_];
	bool ok = true;

	for (int i = 1; i < argc; i++)
		ok = replay_path(argv[i]) && ok;
	if (argc <= 1) {
		name = strrchr(argv[0], '/');
		name = name != NULL ? name + 1 : argv[0];
		name += strncmp(name, "fuzz_", 5) == 0 ? 5 : 0;
		(void)snprintf(own, sizeof(own), "%s/tests/fuzz/corpus/%s",
			       srcdir != NULL ? srcdir : ".", name);
		ok = replay_path(own);
	}
	(void)fprintf(stderr, "%u inputs replayed\n", replayed);
	return ok && replayed != 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
