/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_setup.c - ostlerctl setup: five questions, a configuration
 *
 * From a terminal it asks; otherwise the answers are lines of standard input,
 * and where they end the defaults hold. The file is checked as the daemon
 * would before it gets its name, and never written over another.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"

#define ANSWER_MAX   1024
#define EXAMPLE_NAME "mail.example.org"

struct setup {
	bool is_asking;	 /* a terminal */
	bool is_example; /* nobody knew the name, and EXAMPLE_NAME stands */
	char hostname[ANSWER_MAX], domains[ANSWER_MAX], deliver[ANSWER_MAX];
	char outgoing[ANSWER_MAX], certificate[ANSWER_MAX];
	char password[ANSWER_MAX]; /* for the smarthost; wiped */
	/* parts of outgoing: [USER@]HOST[:PORT] */
	char *user, *via; /* owns; via NULL: by MX */
	char *password_file;
};

/* ------------------------------------------------------------- questions */

/* What cannot stand between double quotes as it is. */
static bool
is_plain(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f ||
		    strchr("\"\\$", *text) != NULL)
			return false;
	return true;
}

/* The answer, or the default where it is empty. False: it cannot be used. */
static bool
ask_once(const struct setup *setup, const char *question, const char *hint,
	 const char *preset, char to[ANSWER_MAX])
{
	char line[ANSWER_MAX] = "";

	if (setup->is_asking) {
		(void)fprintf(stderr, "\n%s\n", question);
		if (hint[0] != '\0')
			(void)fprintf(stderr, "  %s\n", hint);
		(void)fprintf(stderr, "[%s] ", preset);
	}
	if (fgets(line, sizeof(line), stdin) == NULL)
		line[0] = '\0';
	if (strlen(line) == sizeof(line) - 1) {
		/* or its rest would answer the next question */
		(void)fprintf(
			stderr,
			"ostlerctl: an answer has at most %d characters\n",
			ANSWER_MAX - 2);
		return false;
	}
	(void)str_copy(to, ANSWER_MAX,
		       str_trim(str_from(line, strcspn(line, "\r\n"))));
	if (to[0] == '\0')
		(void)str_copy(to, ANSWER_MAX, str_of(preset));
	if (is_plain(to))
		return true;
	(void)fprintf(stderr,
		      "ostlerctl: \"%s\": without quotes, backslashes and $, "
		      "please\n",
		      to);
	return false;
}

/* A person may answer again, without those before. */
static bool
may_ask_again(const struct setup *setup)
{
	return setup->is_asking && !feof(stdin);
}

static bool
ask(const struct setup *setup, const char *question, const char *hint,
    const char *preset, char to[ANSWER_MAX])
{
	while (!ask_once(setup, question, hint, preset, to))
		if (!may_ask_again(setup))
			return false;
	return true;
}

/* The full name of this machine, as far as it knows it. */
static void
guess_hostname(char to[ANSWER_MAX])
{
	struct addrinfo hints = {.ai_flags = AI_CANONNAME}, *found = NULL;
	char name[256];

	(void)str_copy(to, ANSWER_MAX, str_of(EXAMPLE_NAME));
	if (gethostname(name, sizeof(name)) != 0)
		return;
	name[sizeof(name) - 1] = '\0';
	if (strchr(name, '.') != NULL)
		(void)str_copy(to, ANSWER_MAX, str_of(name));
	else if (getaddrinfo(name, NULL, &hints, &found) == 0 &&
		 found->ai_canonname != NULL &&
		 strchr(found->ai_canonname, '.') != NULL)
		(void)str_copy(to, ANSWER_MAX, str_of(found->ai_canonname));
	if (found != NULL)
		freeaddrinfo(found);
}

/* Of mail.example.org, example.org; of a name with one dot, itself. */
static const char *
guess_domain(const char *hostname)
{
	const char *dot = strchr(hostname, '.');

	return dot != NULL && strchr(dot + 1, '.') != NULL ? dot + 1 : hostname;
}

static void
guess_certificate(const char *hostname, char to[ANSWER_MAX])
{
	(void)snprintf(to, ANSWER_MAX, "/etc/letsencrypt/live/%.255s",
		       hostname);
	if (access(to, F_OK) != 0)
		to[0] = '\0';
}

static bool
is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Beside the certificate, or where Debian has keys: /etc/ssl/private for
 * /etc/ssl/mail.crt and /etc/ssl/certs/mail.crt. The caller frees it. */
static char *
find_key(const char *path, size_t len)
{
	const char *slash = memrchr(path, '/', len);
	const char *above = slash != NULL
				    ? memrchr(path, '/', (size_t)(slash - path))
				    : NULL;
	const char *const folders[] = {slash, above};
	const char *name = slash != NULL ? slash + 1 : path;
	int base = (int)(len - (size_t)(name - path));
	char *beside = mem_printf("%.*s.key", (int)len, path);

	for (size_t i = 0; i < 2 && folders[i] != NULL; i++) {
		char *other;

		if (access(beside, F_OK) == 0)
			break;
		other = mem_printf("%.*s/private/%.*s.key",
				   (int)(folders[i] - path), path, base, name);
		if (access(other, F_OK) == 0) {
			free(beside);
			return other;
		}
		free(other);
	}
	return beside;
}

/* What the answer names: a folder of certbot's, two files, or one beside its
 * key. The caller frees both. */
static void
certificate_files(const char *path, char **certificate, char **key)
{
	const char *space = strchr(path, ' ');
	size_t len = strlen(path);

	if (is_folder(path)) {
		*certificate = mem_printf("%s/fullchain.pem", path);
		*key = mem_printf("%s/privkey.pem", path);
		return;
	}
	if (space != NULL && access(path, F_OK) != 0) {
		*certificate = mem_dup(path, (size_t)(space - path));
		*key = mem_strdup(space + strspn(space, " "));
		return;
	}
	if (len > 4 && (strcmp(path + len - 4, ".pem") == 0 ||
			strcmp(path + len - 4, ".crt") == 0))
		len -= 4;
	*certificate = mem_strdup(path);
	*key = find_key(path, len);
}

/* Without a certificate one is made; one that is named has to be there. */
static bool
is_certificate_there(const char *path)
{
	char *certificate, *key;
	const char *missing = NULL;

	if (path[0] == '\0')
		return true;
	certificate_files(path, &certificate, &key);
	if (access(certificate, F_OK) != 0)
		missing = certificate;
	else if (access(key, F_OK) != 0)
		missing = key;
	if (missing != NULL)
		(void)fprintf(stderr, "ostlerctl: %s: %s\n", missing,
			      strerror(errno));
	free(certificate);
	free(key);
	return missing == NULL;
}

static bool
ask_all(struct setup *setup)
{
	char preset[ANSWER_MAX];
	bool has_dovecot = access("/run/dovecot/lmtp", F_OK) == 0;

	guess_hostname(preset);
	setup->is_example = strcmp(preset, EXAMPLE_NAME) == 0;
	if (!ask(setup, "1. The name of this server?",
		 "The MX records of your domains should lead to it.", preset,
		 setup->hostname) ||
	    !ask(setup, "2. Which domains' mail ends here?",
		 "Several are parted by spaces; \"none\" if there is none.",
		 guess_domain(setup->hostname), setup->domains) ||
	    !ask(setup, "3. Where does their mail go?",
		 "maildir:PATH with %d and %u for domain and user, "
		 "lmtp:HOST:PORT, lmtp:unix:PATH, or smtp:HOST:PORT",
		 has_dovecot ? "lmtp:unix:/run/dovecot/lmtp"
			     : "maildir:/var/mail/%d/%u",
		 setup->deliver) ||
	    !ask(setup, "4. How does mail for others leave?",
		 "\"mx\": straight to their servers; or through a smarthost: "
		 "HOST:PORT, or USER@HOST:PORT with a login",
		 "mx", setup->outgoing))
		return false;
	guess_certificate(setup->hostname, preset);
	do {
		if (!ask(setup, "5. The certificate's folder, or file?",
			 "With fullchain.pem and privkey.pem; or FILE.pem "
			 "beside FILE.key; or CERTIFICATE KEY; nothing: one is "
			 "made, which nobody can verify.",
			 preset, setup->certificate))
			return false;
		if (is_certificate_there(setup->certificate))
			return true;
	} while (may_ask_again(setup));
	return false;
}

/* USER@HOST:PORT into its parts, and the password after it. */
static bool
split_outgoing(struct setup *setup)
{
	char *at = strrchr(setup->outgoing, '@');
	const char *host = at != NULL ? at + 1 : setup->outgoing;
	const char *port = strrchr(host, ':');

	if (strcmp(setup->outgoing, "mx") == 0)
		return true;
	/* 465 is TLS from the first byte */
	setup->via =
		mem_printf("%s:%s%s",
			   port != NULL && strcmp(port, ":465") == 0 ? "smtps"
								     : "smtp",
			   host,
			   port != NULL ? ""
			   : at != NULL ? ":587"
					: ":25");
	if (at == NULL)
		return true;
	setup->user = mem_dup(setup->outgoing, (size_t)(at - setup->outgoing));
	if (!ctl_ask_password(setup->is_asking ? "The password there: " : NULL,
			      setup->password, sizeof(setup->password))) {
		(void)fprintf(stderr, "ostlerctl: no password for %s\n",
			      setup->user);
		return false;
	}
	return true;
}

/* ------------------------------------------------------------- the file */

static void
put_certificate(const struct setup *setup, struct buf *out)
{
	char *certificate, *key;

	if (setup->certificate[0] == '\0') {
		(void)buf_adds(out, "\n# one is made that nobody can verify; "
				    "set a real one here:\n# tls { "
				    "certificate = \"...\"  key = \"...\" }\n");
		return;
	}
	certificate_files(setup->certificate, &certificate, &key);
	(void)buf_addf(out,
		       "\ntls {\n\tcertificate = \"%s\"\n\tkey = \"%s\"\n"
		       "}\n",
		       certificate, key);
	free(certificate);
	free(key);
}

/* The next of the domains; commas between them do no harm. */
static bool
next_domain(struct str *rest, struct str *name)
{
	while (str_cut(rest, ' ', name)) {
		while (name->len != 0 && name->at[name->len - 1] == ',')
			name->len--;
		if (name->len != 0)
			return true;
	}
	return false;
}

static void
put_domains(const struct setup *setup, struct buf *out)
{
	struct str rest = str_of(setup->domains), name;

	if (strcmp(setup->domains, "none") == 0)
		return;
	(void)buf_adds(out, "\n# mail for these is accepted from anybody\n");
	while (next_domain(&rest, &name))
		(void)buf_addf(out, "domain \"%.*s\" { deliver = \"%s\" }\n",
			       STR_ARG(name), setup->deliver);
}

static void
put_route(const struct setup *setup, struct buf *out)
{
	if (setup->via == NULL)
		return;
	(void)buf_addf(out,
		       "\nroute \"smarthost\" {\n\tfor = {\"*\"}\n"
		       "\tvia = {\"%s\"}\n",
		       setup->via);
	if (setup->user != NULL)
		(void)buf_addf(out,
			       "\ttls = \"verified\"\n\tuser = \"%s\"\n"
			       "\tpassword_file = \"%s\"\n",
			       setup->user, setup->password_file);
	(void)buf_adds(out, "}\n");
}

static void
put_all(const struct setup *setup, struct buf *out)
{
	(void)buf_addf(out,
		       "# Written by ostlerctl setup; ostler.conf(5) tells all "
		       "of it.\n\nhostname = \"%s\"\n",
		       setup->hostname);
	put_certificate(setup, out);
	put_domains(setup, out);
	put_route(setup, out);
}

/* For who may read it: the owner, who is the daemon's user when root writes. */
static int
write_file(const char *path, const void *bytes, size_t len, mode_t mode,
	   const struct passwd *owner)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	bool is_good;

	if (fd < 0) {
		(void)fprintf(stderr, "ostlerctl: %s: %s\n", path,
			      strerror(errno));
		return errno == EACCES || errno == EPERM ? EXIT_PERMISSION
							 : EXIT_SYSTEM;
	}
	is_good = write(fd, bytes, len) == (ssize_t)len &&
		  (owner == NULL || geteuid() != 0 ||
		   fchown(fd, owner->pw_uid, owner->pw_gid) == 0);
	if (close(fd) == 0 && is_good)
		return EXIT_DONE;
	(void)fprintf(stderr, "ostlerctl: %s: %s\n", path, strerror(errno));
	(void)unlink(path);
	return EXIT_SYSTEM;
}

/* The folder of a fresh installation is not there yet. */
static void
make_folder(const char *path)
{
	char *folder = mem_strdup(path);
	char *slash = strrchr(folder, '/');

	if (slash != NULL && slash != folder) {
		*slash = '\0';
		(void)mkdir(folder, 0755); /* what fails shows at the file */
	}
	free(folder);
}

/* As the daemon reads it; prints what is wrong. */
static int
check_file(const char *path)
{
	struct ctl ctl = {.config_file = path};
	int rc = ctl_config(&ctl);

	config_unref(ctl.config);
	return rc;
}

/* Gives a good file its name. */
static int
take_checked(const char *next, const char *path)
{
	int rc = check_file(next);

	if (rc != EXIT_DONE || rename(next, path) == 0)
		return rc;
	(void)fprintf(stderr, "ostlerctl: %s: %s\n", path, strerror(errno));
	return EXIT_SYSTEM;
}

static int
write_all(struct setup *setup, const char *path)
{
	const struct passwd *owner = getpwnam("ostler");
	char *next = mem_printf("%s.new", path);
	/* the daemon, which is not root, reads it again on a reload */
	mode_t before = umask(0022);
	struct buf text;
	int rc = EXIT_DONE;

	setup->password_file = mem_printf("%s.password", path);
	buf_init(&text, 1u << 20); /* a line for each domain */
	put_all(setup, &text);
	make_folder(path);
	if (setup->user != NULL)
		rc = write_file(setup->password_file, setup->password,
				strlen(setup->password), 0600, owner);
	if (rc == EXIT_DONE) {
		rc = write_file(next, buf_bytes(&text), buf_len(&text), 0644,
				NULL);
		if (rc == EXIT_DONE) {
			rc = take_checked(next, path);
			if (rc != EXIT_DONE)
				(void)unlink(next);
		}
		if (rc != EXIT_DONE && setup->user != NULL)
			(void)unlink(setup->password_file);
	}
	(void)umask(before);
	buf_done(&text);
	free(next);
	return rc;
}

/* ------------------------------------------------------------ what next */

/* Is there a unit, and something that would start it? */
static bool
has_unit(void)
{
	return access("/run/systemd/system", F_OK) == 0 &&
	       (access("/etc/systemd/system/ostler.service", F_OK) == 0 ||
		access("/lib/systemd/system/ostler.service", F_OK) == 0);
}

#define GROUPS_MAX 64

/* What the daemon's user is let into; grows by what is printed. */
struct rights {
	const struct passwd *user; /* borrowed */
	gid_t groups[GROUPS_MAX];
	int count;
};

static void
rights_init(struct rights *rights, const struct passwd *user)
{
	rights->user = user;
	rights->count = GROUPS_MAX - 1;
	if (getgrouplist(user->pw_name, user->pw_gid, rights->groups,
			 &rights->count) < 0)
		rights->count = GROUPS_MAX - 1;
}

static bool
is_in(const struct rights *rights, gid_t group)
{
	for (int i = 0; i < rights->count; i++)
		if (rights->groups[i] == group)
			return true;
	return false;
}

/* How the user gets a right (S_IROTH, S_IXOTH) that is missing. A file or
 * folder that a group of others shares stays theirs: the user joins them, as
 * Debian's ssl-cert is meant. */
static void
print_right(struct rights *rights, const char *path, mode_t others)
{
	mode_t group = others << 3;
	const struct group *shared;
	struct stat st;

	if (stat(path, &st) < 0 || st.st_uid == rights->user->pw_uid ||
	    (st.st_mode & others) != 0 ||
	    (is_in(rights, st.st_gid) && (st.st_mode & group) != 0))
		return;
	shared = st.st_gid != 0 && (st.st_mode & group) != 0
			 ? getgrgid(st.st_gid)
			 : NULL;
	if (shared != NULL && rights->count < GROUPS_MAX) {
		(void)printf("  usermod -aG %s ostler   # lets it into %s\n",
			     shared->gr_name, path);
		rights->groups[rights->count++] = st.st_gid;
	} else {
		(void)printf("  chgrp ostler %s && chmod %s %s\n", path,
			     others == S_IXOTH ? "g+x" : "640", path);
	}
}

/* Folders above a file that the user may not enter, as certbot makes them. */
static void
print_folders(struct rights *rights, const char *path)
{
	const char *slash = strchr(path + 1, '/');

	for (; slash != NULL; slash = strchr(slash + 1, '/')) {
		char *folder = mem_dup(path, (size_t)(slash - path));

		print_right(rights, folder, S_IXOTH);
		free(folder);
	}
}

/* The daemon is not root any more when it reads its key. */
static void
print_key(const struct setup *setup)
{
	const struct passwd *user = getpwnam("ostler");
	char *certificate, *key, *target;
	struct rights rights;

	if (geteuid() != 0 || user == NULL || setup->certificate[0] == '\0')
		return;
	rights_init(&rights, user);
	certificate_files(setup->certificate, &certificate, &key);
	print_right(&rights, key, S_IROTH);
	print_folders(&rights, key);
	target = realpath(key, NULL); /* it may be a link */
	if (target != NULL && strcmp(target, key) != 0)
		print_folders(&rights, target);
	free(target);
	free(certificate);
	free(key);
}

/* One that is there may be /home: install would take it from its owner. */
static void
print_maildir(const char *path)
{
	const struct passwd *user = getpwnam("ostler");
	struct stat st;

	if (stat(path, &st) < 0)
		(void)printf("  install -d -o ostler -g ostler %s\n", path);
	else if (user == NULL || st.st_uid != user->pw_uid)
		(void)printf("  # %s is another's: Maildirs need a folder of "
			     "ostler's own, in `deliver`\n",
			     path);
}

/* A Maildir's folder has to be the daemon's: /var/mail is not. */
static void
print_maildirs(const struct setup *setup)
{
	struct str rest = str_of(setup->domains), name;
	const char *path, *user, *domain;
	char *folder;
	int len;

	if (geteuid() != 0 || strcmp(setup->domains, "none") == 0 ||
	    strncmp(setup->deliver, "maildir:", strlen("maildir:")) != 0)
		return;
	path = setup->deliver + strlen("maildir:");
	user = strstr(path, "%u");
	domain = strstr(path, "%d");
	len = user != NULL ? (int)(user - path) : (int)strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	while (next_domain(&rest, &name)) {
		bool is_for_all = domain == NULL || domain > path + len;

		if (is_for_all)
			folder = mem_dup(path, (size_t)len);
		else
			folder =
				mem_printf("%.*s%.*s%.*s", (int)(domain - path),
					   path, STR_ARG(name),
					   (int)(path + len - domain - 2),
					   domain + 2);
		print_maildir(folder);
		free(folder);
		if (is_for_all)
			return;
	}
}

static void
print_commands(const char *path)
{
	bool is_usual = strcmp(path, OSTLER_SYSCONFDIR "/ostler.conf") == 0;
	char *option = is_usual ? mem_strdup("") : mem_printf(" -c %s", path);

	(void)printf("  ostlerd%s -t      # check it again\n"
		     "  ostlerctl%s user add NAME   # a login, to send from "
		     "elsewhere\n",
		     option, option);
	if (is_usual && has_unit())
		(void)printf("  systemctl enable --now ostler    # start it\n");
	else
		(void)printf("  ostlerd%s         # start it\n", option);
	free(option);
}

static void
print_next(const struct setup *setup, const char *path)
{
	struct str rest = str_of(setup->domains), name;

	(void)printf("%s is written. Next:\n", path);
	if (setup->is_example && strcmp(setup->hostname, EXAMPLE_NAME) == 0)
		(void)printf("  # this machine does not know its full "
			     "name: " EXAMPLE_NAME " in that file\n"
			     "  # is an example, so put in the real one\n");
	if (geteuid() == 0 && getpwnam("ostler") == NULL)
		(void)printf("  useradd --system --home-dir /nonexistent "
			     "--shell /usr/sbin/nologin ostler   # the "
			     "package does it\n%s%s%s",
			     setup->user != NULL ? "  chown ostler " : "",
			     setup->user != NULL ? setup->password_file : "",
			     setup->user != NULL ? "\n" : "");
	print_key(setup);
	print_maildirs(setup);
	print_commands(path);
	(void)printf("In DNS:\n  %s needs an address record, and the address "
		     "a reverse (PTR) record with this name\n",
		     setup->hostname);
	while (strcmp(setup->domains, "none") != 0 && next_domain(&rest, &name))
		(void)printf("  %.*s. MX 10 %s.\n  %.*s. TXT \"v=spf1 mx "
			     "-all\"%s\n",
			     STR_ARG(name), setup->hostname, STR_ARG(name),
			     setup->via != NULL ? "   (and your smarthost's)"
						: "");
}

int
ctl_setup(struct ctl *ctl)
{
	struct setup setup = {.is_asking = isatty(STDIN_FILENO) == 1};
	json_t *args = json_object();
	bool is_fine = ctl_options(ctl, NULL, 0, args) && ctl->argc == 1;
	int rc = EXIT_USAGE;

	json_decref(args);
	if (!is_fine) {
		(void)fprintf(stderr, "usage: ostlerctl [-c FILE] setup\n");
		return EXIT_USAGE;
	}
	if (access(ctl->config_file, F_OK) == 0) {
		(void)fprintf(stderr,
			      "ostlerctl: %s is there already; move it away, "
			      "or name another with -c\n",
			      ctl->config_file);
		return EXIT_NO;
	}
	if (ask_all(&setup) && split_outgoing(&setup))
		rc = write_all(&setup, ctl->config_file);
	mem_wipe(setup.password, sizeof(setup.password));
	if (rc == EXIT_DONE)
		print_next(&setup, ctl->config_file);
	free(setup.user);
	free(setup.via);
	free(setup.password_file);
	return rc;
}
