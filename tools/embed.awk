# SPDX-License-Identifier: ISC
# awk -f embed.awk -v name=NAME FILE: the text FILE as a C string NAME, for
# which NAME's header must stand in -v header=HEADER.
BEGIN {
	print "/* SPDX-License-Identifier: ISC */"
	print "/* Made by tools/embed.awk; change the text it was made from. */"
	printf "#include \"%s\"\n\nconst char %s[] =\n", header, name
}
{
	gsub(/\\/, "&&")
	gsub(/"/, "\\\"")
	gsub(/\t/, "\\t")
	printf "\t\"%s\\n\"\n", $0
}
END {
	print "\t\"\";"
}
