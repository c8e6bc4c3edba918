/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/net/tls_ctx.h"

static char dir[] = "/tmp/ostler-ctx-XXXXXX";
static char cert[64], key[64], other_cert[64], other_key[64], junk[64],
	encrypted[64];

static void
write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	(void)fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

static void
files_make(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(cert, sizeof(cert), "%s/cert", dir);
	(void)snprintf(key, sizeof(key), "%s/key", dir);
	(void)snprintf(other_cert, sizeof(other_cert), "%s/other-cert", dir);
	(void)snprintf(other_key, sizeof(other_key), "%s/other-key", dir);
	(void)snprintf(junk, sizeof(junk), "%s/junk", dir);
	(void)snprintf(encrypted, sizeof(encrypted), "%s/encrypted", dir);
	ck_assert_int_eq(tls_make_self_signed("mx.example.org", cert, key,
					      NULL),
			 0);
	ck_assert_int_eq(tls_make_self_signed("192.0.2.1", other_cert,
					      other_key, NULL),
			 0);
	write_file(junk, "this is\nno certificate\n");
	/* a key that nobody uses, under a passphrase nobody needs */
	write_file(encrypted,
		   "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
		   "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAigD02MQ0ScOwI"
		   "CA+gw\n"
		   "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECKjI/zEQey56y8j/"
		   "OG+MRkEgZDQ\n"
		   "RR5UEhvYMaeKSy+"
		   "1gEsgBxIWcGeQ3Fvxk1QRlMqSrH4LS4ISv8DGH58zrvUsHCnd\n"
		   "ln04D69rMYHX7JvZWCwUS3ZZ2UzawXHk0hyOVHGiMF8CKtNQLKZQUOqQ1AD"
		   "N45RL\n"
		   "YaTE4m+93b4GzPY+"
		   "HvM3HyNDsONXsWfBuUd2F2wXvztaJ9FkkJQeNg0itxo77zI=\n"
		   "-----END ENCRYPTED PRIVATE KEY-----\n");
}

static void
files_remove(void)
{
	const char *paths[] = {cert,	  key,	other_cert,
			       other_key, junk, encrypted};

	for (size_t i = 0; i < COUNT(paths); i++)
		(void)unlink(paths[i]);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(a_made_certificate_serves_and_lasts_ten_years)
{
	struct tls_server_opts opts = {.files.certificate = cert,
				       .files.key = key,
				       .minimum = "1.2"};
	struct tls_ctx *ctx;
	struct stat st;
	long long left_days;

	files_make();
	ck_assert_int_eq(tls_ctx_server(&opts, &ctx, NULL), 0);
	left_days = (tls_ctx_expires(ctx) - (long long)time(NULL)) / 86400;
	ck_assert_int_ge(left_days, 3649);
	ck_assert_int_le(left_days, 3650);
	ck_assert(tls_ctx_is_self_signed(ctx));
	ck_assert_ptr_eq(tls_ctx_ref(ctx), ctx);
	tls_ctx_unref(ctx);
	tls_ctx_unref(ctx);
	tls_ctx_unref(NULL);
	ck_assert_int_eq(stat(key, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(cert, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0644);
	files_remove();
}
END_TEST

START_TEST(existing_files_are_never_overwritten)
{
	struct err err = ERR_INIT;
	char text[16] = "";
	FILE *file;

	files_make();
	write_file(junk, "precious");
	(void)unlink(encrypted);
	ck_assert_int_eq(tls_make_self_signed("a", junk, encrypted, &err),
			 -EEXIST);
	ck_assert_ptr_nonnull(strstr(err.text, junk));
	ck_assert_int_eq(tls_make_self_signed("a", encrypted, junk, &err),
			 -EEXIST);
	ck_assert_int_eq(access(encrypted, F_OK), -1);
	file = fopen(junk, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
	(void)fclose(file);
	ck_assert_str_eq(text, "precious");
	files_remove();
}
END_TEST

START_TEST(a_certificate_is_made_whole_or_not_at_all)
{
	char missing[96];
	struct err err = ERR_INIT;

	files_make();
	(void)unlink(junk);
	(void)snprintf(missing, sizeof(missing), "%s/none/cert", dir);
	ck_assert_int_eq(tls_make_self_signed("a", missing, junk, &err),
			 -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, missing));
	ck_assert_int_eq(access(junk, F_OK), -1); /* the key went again */
	ck_assert_int_eq(tls_make_self_signed("", junk, missing, &err),
			 -EINVAL);
	files_remove();
}
END_TEST

static const struct {
	const char *cert, *key, *client_ca, *minimum;
	int code;
	const char *said; /* in the error's text, next to the file */
	const char *file;
} refused[] = {
	{"/nonexistent/c", key, NULL, "1.2", -ENOENT, "certificate",
	 "/nonexistent/c"},
	{cert, "/nonexistent/k", NULL, "1.2", -ENOENT, "key", "/nonexistent/k"},
	{cert, key, "/nonexistent/a", "1.2", -ENOENT, "CA", "/nonexistent/a"},
	{junk, key, NULL, "1.2", -EINVAL, "no start line", junk},
	{cert, junk, NULL, "1.2", -EINVAL, "key", junk},
	{cert, key, junk, "1.2", -EINVAL, "CA", junk},
	{cert, other_key, NULL, "1.2", -EINVAL, "does not belong to",
	 other_key},
	{cert, cert, NULL, "1.2", -EINVAL, "key", cert},
	{key, key, NULL, "1.2", -EINVAL, "certificate", key},
	{cert, encrypted, NULL, "1.2", -EINVAL, "passphrase", encrypted},
	{dir, key, NULL, "1.2", -EINVAL, "no PEM file", dir},
	{cert, "/dev/zero", NULL, "1.2", -EINVAL, "no PEM file", "/dev/zero"},
	{"", key, NULL, "1.2", -EINVAL, "no certificate file", ""},
	{NULL, key, NULL, "1.2", -EINVAL, "no certificate file", ""},
	{cert, key, NULL, "1.9", -EINVAL, "no TLS version", "1.9"},
	{cert, key, NULL, NULL, -EINVAL, "no TLS version", ""},
};

START_TEST(what_cannot_serve_is_refused_with_file_and_reason)
{
	struct tls_server_opts opts = {.files.certificate = refused[_i].cert,
				       .files.key = refused[_i].key,
				       .client_ca = refused[_i].client_ca,
				       .minimum = refused[_i].minimum};
	struct tls_ctx *ctx = NULL;
	struct err err = ERR_INIT;

	files_make();
	ck_assert_int_eq(tls_ctx_server(&opts, &ctx, &err), refused[_i].code);
	ck_assert_ptr_null(ctx);
	ck_assert_int_eq(err.code, refused[_i].code);
	ck_assert_msg(strstr(err.text, refused[_i].said) != NULL, "%s",
		      err.text);
	ck_assert_msg(strstr(err.text, refused[_i].file) != NULL, "%s",
		      err.text);
	ck_assert_ptr_null(strchr(err.text, '\n'));
	files_remove();
}
END_TEST

START_TEST(an_unreadable_key_says_so)
{
	struct tls_server_opts opts = {.files.certificate = cert,
				       .files.key = key,
				       .minimum = "1.2"};
	int status;
	pid_t pid;

	files_make();
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(chmod(key, 0000), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct err err = ERR_INIT;
		struct tls_ctx *ctx;
		int rc;

		if (getuid() == 0 && setuid(65534) < 0)
			_exit(2);
		rc = tls_ctx_server(&opts, &ctx, &err);
		_exit(rc == -EACCES && strstr(err.text, key) != NULL ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	files_remove();
}
END_TEST

START_TEST(two_certificates_have_two_kinds_of_key)
{
	struct tls_server_opts opts = {.files.certificate = cert,
				       .files.key = key,
				       .files.second_certificate = other_cert,
				       .files.second_key = other_key,
				       .minimum = "1.2"};
	struct tls_ctx *ctx = NULL;
	struct err err = ERR_INIT;

	files_make();
	ck_assert_int_eq(tls_ctx_server(&opts, &ctx, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "same kind of key") != NULL, "%s",
		      err.text);
	opts.files.second_key = key;
	ck_assert_int_eq(tls_ctx_server(&opts, &ctx, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "does not belong") != NULL, "%s",
		      err.text);
	ck_assert_ptr_null(ctx);
	files_remove();
}
END_TEST

START_TEST(a_client_needs_cas_that_are_there)
{
	struct tls_client_opts opts = {.is_verified = true,
				       .ca = "/nonexistent/ca",
				       .minimum = "1.2"};
	struct tls_ctx *ctx = NULL;
	struct err err = ERR_INIT;

	files_make();
	ck_assert_int_eq(tls_ctx_client(&opts, &ctx, &err), -ENOENT);
	opts.ca = junk;
	ck_assert_int_eq(tls_ctx_client(&opts, &ctx, &err), -EINVAL);
	opts.ca = cert;
	opts.maximum = "1.x";
	ck_assert_int_eq(tls_ctx_client(&opts, &ctx, &err), -EINVAL);
	opts.maximum = NULL;
	ck_assert_int_eq(tls_ctx_client(&opts, &ctx, &err), 0);
	ck_assert_int_eq(tls_ctx_expires(ctx), 0);
	tls_ctx_unref(ctx);
	files_remove();
}
END_TEST

UNIT_MAIN("tls_ctx",
	  tcase_add_test(tc, a_made_certificate_serves_and_lasts_ten_years);
	  tcase_add_test(tc, existing_files_are_never_overwritten);
	  tcase_add_test(tc, a_certificate_is_made_whole_or_not_at_all);
	  tcase_add_loop_test(tc,
			      what_cannot_serve_is_refused_with_file_and_reason,
			      0, (int)COUNT(refused));
	  tcase_add_test(tc, an_unreadable_key_says_so);
	  tcase_add_test(tc, two_certificates_have_two_kinds_of_key);
	  tcase_add_test(tc, a_client_needs_cas_that_are_there);)
