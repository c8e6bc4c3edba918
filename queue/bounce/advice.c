/* SPDX-License-Identifier: ISC */
#include "queue/bounce/advice.h"

#include <stddef.h>
#include <string.h>

/*
 * Sentences, no markup; each part stands for itself, because a report shows
 * explanation and author to one reader and admin to another. "the receiving
 * server" is whoever refused; nobody is blamed who cannot change it.
 */
static const struct advice by_category[CATEGORY_COUNT] = {
	[CATEGORY_OTHER] =
		{"the server gave no usable reason",
		 "The receiving server could not take the message and gave no "
		 "reason that tells more.",
		 "Send it again later. If it fails again, ask the recipient "
		 "another way and pass on the server's reply below.",
		 "Look into the receiving server's log for this time and "
		 "queue id; if it is not yours, ask its postmaster with the "
		 "exact reply.",
		 "the recipient's mail administrator"},
	[CATEGORY_BAD_CONFIGURATION] =
		{"a mail server is out of order",
		 "A part of a mail system on the way is broken or set up "
		 "wrongly. Your message and the address may be fine.",
		 "Nothing is wrong on your side. Send the message again in a "
		 "day, or tell the recipient that their mail server has a "
		 "problem.",
		 "Repair the part that the reply names (look-up, filter, file, "
		 "certificate, licence); a retry succeeds once it works.",
		 "the recipient's mail administrator"},
	[CATEGORY_BAD_CONNECTION] =
		{"the connection failed",
		 "The recipient's mail server was found, but the connection to "
		 "it was refused or broke off.",
		 "Nothing is wrong on your side. Send the message again later, "
		 "or reach the recipient another way.",
		 "Check that the server runs and listens, and that no firewall "
		 "between the two addresses refuses or cuts the connection.",
		 "the mail administrators of both sides"},
	[CATEGORY_BAD_DOMAIN] =
		{"this domain takes no mail",
		 "The part of the address behind the @ does not exist, or it "
		 "says that it takes no mail.",
		 "Check the part behind the @ for a spelling mistake. If it is "
		 "right, ask the recipient for another address; sending again "
		 "will not help.",
		 "The domain needs an MX record, or an address record, that "
		 "leads to a mail server; check that its registration has not "
		 "run out.",
		 "you, or the owner of the domain"},
	[CATEGORY_BAD_MAILBOX] =
		{"no such mailbox",
		 "The receiving server says that it has no such mailbox.",
		 "Check the spelling of the address. If it is right, ask the "
		 "recipient another way and remove this address from your "
		 "contacts; sending again will not help.",
		 "If the address should exist, look for it in the tables of "
		 "the receiving server; otherwise drop it from lists.",
		 "you"},
	[CATEGORY_CONTENT_RELATED] =
		{"this message was not accepted as it is",
		 "The receiving server does not accept this message because "
		 "of what it is or contains. The address is fine.",
		 "Change the message and send it again: simpler, smaller, "
		 "without unusual attachments, from another mail program.",
		 "Compare the message with the rule that the reply names; the "
		 "receiving side's content rules decide.",
		 "you"},
	[CATEGORY_INACTIVE_MAILBOX] =
		{"the mailbox takes no mail now",
		 "The mailbox is known to the receiving server but is switched "
		 "off, locked or closed.",
		 "Reach the recipient another way. Send the message again only "
		 "after the mailbox was opened again.",
		 "The receiving side has to enable the mailbox; take the "
		 "address off lists until then.",
		 "the recipient"},
	[CATEGORY_MESSAGE_EXPIRED] =
		{"it could not be delivered in time",
		 "The message was tried again and again until the time for it "
		 "ran out. We have stopped trying.",
		 "Send the message again if it still matters, or reach the "
		 "recipient another way.",
		 "The last reason seen is the one to cure: see the attempts "
		 "in the log and in the queue's history.",
		 "the mail administrators"},
	[CATEGORY_NO_ANSWER_FROM_HOST] =
		{"the server does not answer",
		 "The recipient's mail server did not answer.",
		 "Nothing is wrong on your side. Send the message again later, "
		 "or reach the recipient another way.",
		 "Check that the server is up, that its address records are "
		 "right, and that no firewall swallows port 25 in silence.",
		 "the recipient's mail administrator"},
	[CATEGORY_POLICY_RELATED] =
		{"refused by a rule of the receiver",
		 "The receiving server has a rule that this message or its "
		 "sender does not meet.",
		 "Ask your mail administrator to look at the server's reply "
		 "below; or ask the recipient to allow your mail.",
		 "Meet the rule that the reply names (identity, DNS, rate, "
		 "encryption), or ask the receiving side for an exception.",
		 "your mail administrator"},
	[CATEGORY_PROTOCOL_ERRORS] =
		{"the mail servers did not understand each other",
		 "The two mail servers did not understand each other. Your "
		 "message and the address may be fine.",
		 "There is nothing that you can change. Tell your mail "
		 "administrator, and reach the recipient another way.",
		 "Compare the command that was answered with what the reply "
		 "objects to; one of the two servers breaks RFC 5321 or lacks "
		 "an extension.",
		 "the mail administrators of both sides"},
	[CATEGORY_QUOTA_ISSUES] =
		{"no room for the message",
		 "The recipient's mailbox or mail server has no room, or takes "
		 "no more messages for now.",
		 "Tell the recipient another way that there is no room, and "
		 "send the message again later.",
		 "Make room or raise the limit on the receiving side; a retry "
		 "succeeds after that.",
		 "the recipient"},
	[CATEGORY_RELAYING_ISSUES] =
		{"a server would not carry this mail",
		 "A mail server refused to pass this message on: it does not "
		 "take mail for this domain, or does not know who is sending.",
		 "Check the part behind the @ for a spelling mistake. If it is "
		 "right, tell the recipient or your mail administrator; "
		 "sending again will not help before something changes there.",
		 "Find which server refused. If it should take the domain, "
		 "its list of domains or the domain's MX records are wrong; if "
		 "it is a smarthost, the login is wrong or missing.",
		 "the mail administrators"},
	[CATEGORY_ROUTING_ERRORS] =
		{"the way to the domain is broken",
		 "The domain exists, but the way to its mail server is broken, "
		 "or leads in a circle.",
		 "Nothing is wrong on your side. Send the message again in a "
		 "day, or reach the recipient another way.",
		 "Check the domain's MX and address records, its name servers, "
		 "and any forwarding that sends mail back where it came from.",
		 "the recipient's mail administrator"},
	[CATEGORY_SPAM_RELATED] =
		{"taken for spam",
		 "The receiving server takes the message, or where it comes "
		 "from, for spam.",
		 "Ask your mail administrator to look at the server's reply "
		 "below. Sending the same message again will not help.",
		 "Find out whether an account or machine sends spam, read what "
		 "the reply refers to, and ask there to be taken off the list "
		 "once the cause is gone.",
		 "your mail administrator"},
	[CATEGORY_VIRUS_RELATED] =
		{"taken for dangerous",
		 "The receiving server found malware in the message, or "
		 "content that it calls dangerous.",
		 "Check your computer and the attached files for malware. If "
		 "they are clean, send a link to the file instead.",
		 "Check the sender's machine and login; if the verdict is "
		 "wrong, the receiving side's scanner has to be told.",
		 "you"},
};

/* Where a rule knows more. */
static const struct {
	const char *id;
	struct advice advice;
} by_id[] = {
	{"attachment",
	 {"an attachment is not allowed",
	  "The receiving server does not accept attachments of this kind.",
	  "Send the message without the attachment, or put the file where the "
	  "recipient can fetch it and send the link.",
	  "The receiving side's list of attachment types decides.", "you"}},
	{"blocklisted",
	 {"the sending server is on a blocklist",
	  "The receiving server uses a blocklist that holds our mail server's "
	  "address, a domain or a link in the message.",
	  "There is nothing wrong with the address. Tell your mail "
	  "administrator, who has the details below.",
	  "Look the address or domain up at the list that the reply names, "
	  "remove the cause of the listing, then ask to be delisted.",
	  "your mail administrator"}},
	{"denied-our-data",
	 {"the recipient's domain is moving",
	  "The domain changed its mail servers a short while ago. We followed "
	  "the change, and were refused again.",
	  "Nothing is wrong on your side. Send the message again in some "
	  "hours.",
	  "The records that we held, well within their TTL, differ from what "
	  "DNS says now. While a domain moves, its old server has to take mail "
	  "until the TTL of the old records has passed everywhere, and the new "
	  "one has to know the domain before the records name it.",
	  "the recipient's mail administrator"}},
	{"denied-old-record",
	 {"the recipient's domain is moving",
	  "DNS sent us to a mail server that does not serve the domain, and "
	  "then named others.",
	  "Nothing is wrong on your side. Send the message again in some "
	  "hours.",
	  "The server that refused is not what DNS names now. Check that all "
	  "name servers of the domain give the same records, that the resolver "
	  "in front of this server keeps none past their TTL, and that every "
	  "server that was named takes the domain until then.",
	  "the recipient's mail administrator"}},
	{"denied-backup-mx",
	 {"the domain's backup mail server refused",
	  "The recipient's main mail server could not be reached, and the one "
	  "that stands in for it does not know that it should.",
	  "Nothing is wrong on your side. Send the message again later, or "
	  "reach the recipient another way.",
	  "A backup MX of the domain refuses its mail. Add the domain to what "
	  "that server relays, or take it out of the MX records: without it, "
	  "mail would have waited for the main server.",
	  "the recipient's mail administrator"}},
	{"denied-best-mx",
	 {"the domain's mail server does not know its domain",
	  "The mail server that the recipient's domain names as its own says "
	  "that it takes no mail for it. We asked DNS again, and it still "
	  "names this server.",
	  "Check the part behind the @ for a spelling mistake. If it is right, "
	  "tell the recipient another way: their mail is misconfigured, "
	  "perhaps while it moves.",
	  "The best MX of the domain refuses its mail. Either the server lacks "
	  "the domain in its list, or the MX record should name another "
	  "server.",
	  "the recipient's mail administrator"}},
	{"denied-no-login",
	 {"our provider's mail server wants a login",
	  "Our mail server hands its mail to another one, which carries it "
	  "only after a login. Ours has none set up.",
	  "Nothing is wrong with the message or the address. Tell your mail "
	  "administrator, then send it again.",
	  "Set user and password_file in the route that is named above, or "
	  "have the smarthost allow this server's address.",
	  "your mail administrator"}},
	{"denied-login",
	 {"our provider's mail server would not carry this mail",
	  "Our mail server hands its mail to another one. That took our login "
	  "and refused the message all the same.",
	  "Nothing is wrong with the message or the address. Tell your mail "
	  "administrator, then send it again.",
	  "Ask whoever runs the smarthost what this login may send: the "
	  "sender's domain may have to be allowed there, or the account may "
	  "be locked.",
	  "your mail administrator"}},
	{"denied-inner",
	 {"our inner mail server does not know its domain",
	  "Our mail server took the message for a domain of its own, and the "
	  "server behind it does not take that domain's mail.",
	  "Nothing is wrong with the message or the address. Tell your mail "
	  "administrator, then send it again.",
	  "Add the domain to what the inner server takes from this one, or "
	  "correct deliver of the domain that is named above.",
	  "your mail administrator"}},
	{"disk-full",
	 {"the server is out of space",
	  "The receiving server has no room left for any mail.",
	  "Nothing is wrong on your side. Send the message again in a day.",
	  "Make room on the receiving server's disk; this is not one "
	  "mailbox's limit.",
	  "the recipient's mail administrator"}},
	{"dkim",
	 {"the message's signature did not hold",
	  "The receiving server checked the DKIM signature of the sender's "
	  "domain, and it was missing or did not fit.",
	  "Tell your mail administrator; the message itself and the address "
	  "may be fine.",
	  "Check that outgoing mail is signed, that the selector's key in DNS "
	  "fits, and that nothing changes the message after signing.",
	  "your mail administrator"}},
	{"dmarc",
	 {"the sender's domain could not be verified",
	  "The receiving server could not verify that the message comes from "
	  "the domain in its From line.",
	  "Send with an address of the organisation whose mail server you "
	  "use. If you do, tell your mail administrator.",
	  "SPF or DKIM must pass for the domain of the From line (DMARC): "
	  "check both records, alignment, and forwarding on the way.",
	  "your mail administrator"}},
	{"dynamic-address",
	 {"our address may not send directly",
	  "The receiving server takes no mail straight from network addresses "
	  "like ours.",
	  "Tell your mail administrator; the message and the address may be "
	  "fine.",
	  "Send through the provider's mail server (a route with via = "
	  "\"smtp:...\"), or get a fixed address with a name of its own.",
	  "your mail administrator"}},
	{"greylisted",
	 {"the server asks to try again later",
	  "The receiving server delays mail from senders that it does not "
	  "know yet (greylisting).",
	  "Nothing is wrong. If the message was given up, send it again.",
	  "A retry after some minutes from the same address passes; if it "
	  "never does, the retries come too early or from changing addresses.",
	  "nobody: a later attempt should pass"}},
	{"helo-name",
	 {"our server's greeting name was not accepted",
	  "The receiving server does not accept the name with which our mail "
	  "server introduces itself.",
	  "Tell your mail administrator; the message and the address may be "
	  "fine.",
	  "Set hostname to a full name whose address record leads to this "
	  "server and whose reverse record leads back.",
	  "your mail administrator"}},
	{"login-missing",
	 {"the server wants a login",
	  "A mail server on the way carries mail only for those who log in, "
	  "and the login was missing or refused.",
	  "If your mail program sent this, set user name and password for "
	  "outgoing mail there; otherwise tell your mail administrator.",
	  "If the server is our smarthost, set user and password_file of its "
	  "route and check its TLS; if it is the domain's MX, it has to take "
	  "mail for its own domain without a login.",
	  "your mail administrator"}},
	{"mail-loop",
	 {"the message went in a circle",
	  "Servers pass mail for this address back and forth without end.",
	  "Nothing is wrong on your side. Tell the recipient another way.",
	  "Find two forwardings, or an MX record and a list of local domains, "
	  "that disagree; the Received lines show the circle.",
	  "the recipient's mail administrator"}},
	{"mailbox-full",
	 {"the mailbox is full", "The recipient's mailbox is full.",
	  "Tell the recipient another way to make room, then send the message "
	  "again.",
	  "Raise the mailbox's limit or have it emptied.", "the recipient"}},
	{"mailbox-rate",
	 {"the mailbox gets too much mail just now",
	  "The recipient gets more messages than the receiving server allows "
	  "in a while.",
	  "Send the message again in some hours.",
	  "The limit is the receiving side's, for this one recipient; a mail "
	  "loop or a flood may be behind it.",
	  "nobody: a later attempt should pass"}},
	{"malformed",
	 {"the message's form is wrong",
	  "The receiving server says that header or structure of the message "
	  "break the rules for mail.",
	  "Send it again from another mail program, written anew.",
	  "Compare the message's header with RFC 5322: one From, Date and "
	  "Message-ID each, no bytes above 127 in a header.",
	  "you, or the maker of the sending program"}},
	{"message-too-big",
	 {"the message is too big",
	  "The message is bigger than the receiving server accepts.",
	  "Make it smaller, or put large files where the recipient can fetch "
	  "them and send the link. Attachments grow by a third on the way.",
	  "The receiving side's limit decides; the reply may name it.", "you"}},
	{"moved",
	 {"the recipient has moved",
	  "The receiving server says that the recipient has another address "
	  "now.",
	  "Ask the recipient for the new address; the reply below may show "
	  "it.",
	  "A forwarding on the receiving side would help others.", "you"}},
	{"no-reverse-dns",
	 {"our server lacks a proper reverse DNS name",
	  "The receiving server wants the sending server's address to have a "
	  "name in DNS, and a matching one.",
	  "Tell your mail administrator; the message and the address may be "
	  "fine.",
	  "Have whoever owns our network address set a PTR record to our "
	  "hostname, whose address record leads back to it.",
	  "your mail administrator"}},
	{"null-mx",
	 {"this domain takes no mail",
	  "The owner of the domain has declared in DNS that it takes no mail "
	  "at all.",
	  "Check the part behind the @ for a spelling mistake, or ask the "
	  "recipient for another address; sending again will not help.",
	  "The domain has a null MX record (RFC 7505); only its owner can "
	  "change that.",
	  "you"}},
	{"operator",
	 {"stopped by an administrator",
	  "An administrator of this mail server took the message out of the "
	  "queue.",
	  "Ask your mail administrator for the reason before you send it "
	  "again.",
	  "It was bounced with ostlerctl queue bounce.",
	  "your mail administrator"}},
	{"rate-limited",
	 {"too much mail in a short time",
	  "The receiving server takes only so much mail or so many "
	  "connections from one sender in a while.",
	  "Send the message again in some hours, and to fewer people at once "
	  "if it went to many.",
	  "Lower connections and rate of the route to this host; look for a "
	  "sender that floods.",
	  "your mail administrator"}},
	{"reputation",
	 {"the sending server has a bad reputation",
	  "The receiving server rates our mail server, or the sender's "
	  "domain, as a likely source of spam.",
	  "Tell your mail administrator; sending again will not help.",
	  "Find out who sends unwanted mail through us or in the domain's "
	  "name; set SPF, DKIM and reverse DNS; then use the contact that the "
	  "reply names.",
	  "your mail administrator"}},
	{"restricted-recipient",
	 {"the recipient takes mail only from some senders",
	  "This recipient or group takes mail only from senders that it "
	  "allows, and refused this one.",
	  "Ask the recipient, or the owner of the group, to allow your "
	  "address.",
	  "The restriction is set at this recipient on the receiving side.",
	  "the recipient"}},
	{"sender-domain",
	 {"the sender's domain was not accepted",
	  "The receiving server finds no usable domain in the sender's "
	  "address.",
	  "Check your own address in your mail program's settings.",
	  "The domain of the envelope sender needs an MX or address record "
	  "that the receiving side can look up.",
	  "you, or your mail administrator"}},
	{"sender-refused",
	 {"the sender's address was not accepted",
	  "The receiving server does not accept mail with this sender's "
	  "address.",
	  "Check your own address in your mail program's settings; send with "
	  "an address that is yours at this server.",
	  "Check that the sender's address exists and may be used here; the "
	  "receiving side may ask our server for it.",
	  "you, or your mail administrator"}},
	{"spf",
	 {"our server may not send for the sender's domain",
	  "The domain of the sender's address publishes which servers may "
	  "send for it (SPF), and ours is not among them.",
	  "Send through the mail server of the organisation that your address "
	  "belongs to, or tell your mail administrator.",
	  "Add our sending address to the domain's SPF record, or have mail "
	  "for that domain leave by its own server; forwarded mail needs a "
	  "rewritten sender.",
	  "your mail administrator"}},
	{"tls-failed",
	 {"a secure connection could not be made",
	  "The two mail servers could not agree on an encrypted connection.",
	  "Nothing is wrong on your side. Tell your mail administrator.",
	  "Check certificate (name, end date, chain), TLS versions and "
	  "ciphers of the receiving server, and what our route demands.",
	  "the mail administrators of both sides"}},
	{"tls-required",
	 {"an encrypted connection is required",
	  "One of the two mail servers insists on encryption and the other "
	  "did not offer or use it.",
	  "Nothing is wrong on your side. Tell your mail administrator.",
	  "Let the route use TLS, or see why the receiving server does not "
	  "offer STARTTLS.",
	  "the mail administrators of both sides"}},
	{"too-many-recipients",
	 {"too many recipients at once",
	  "The receiving server takes fewer recipients for one message or in "
	  "one hour.",
	  "Send the message to fewer people at a time.",
	  "Split large lists, or use a list server; the receiving side's limit "
	  "decides.",
	  "you"}},
};

const char *
advice_id(struct str name)
{
	for (size_t i = 0; i < sizeof(by_id) / sizeof(by_id[0]); i++)
		if (str_is(name, by_id[i].id))
			return by_id[i].id;
	return NULL;
}

void
advice_find(const struct classification *classification, struct advice *out)
{
	*out = by_category[classification->category];
	if (classification->advice == NULL)
		return;
	for (size_t i = 0; i < sizeof(by_id) / sizeof(by_id[0]); i++)
		if (strcmp(by_id[i].id, classification->advice) == 0)
			*out = by_id[i].advice;
}

const char *
advice_explanation(enum category category)
{
	return by_category[category].explanation;
}

const char *
advice_author(enum category category)
{
	return by_category[category].author;
}

const char *
advice_admin(enum category category)
{
	return by_category[category].admin;
}

const char *
advice_who(enum category category)
{
	return by_category[category].who;
}
