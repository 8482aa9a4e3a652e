#!/bin/sh
# Tests that the pages hold together: each link leads to a file and a heading that exist, and each
# source file that a page names exists.
set -eu
cd "$(dirname -- "$0")/../.."

perl - ./*.md docs/*.md <<'END'
use strict;
use warnings;
use Cwd 'realpath';
use File::Basename 'dirname';

my ($missing, %prose, %headings) = (0);
sub missing { print join(": ", @_), "\n"; $missing++ }

for my $page (@ARGV) {
    open my $file, '<:encoding(UTF-8)', $page or die "$page: $!";
    my $in_code;
    while (<$file>) {
        if (/^```/) { $in_code = !$in_code; next }
        next if $in_code;
        $prose{$page} .= $_;
        next unless /^#+ +(.*?) *$/;
        # The name that GitHub gives to a heading.
        my $name = lc $1;
        $name =~ s/[^\w\- ]//g;
        $name =~ tr/ /-/;
        $headings{realpath $page}{$name} = 1;
    }
}
for my $page (@ARGV) {
    for ($prose{$page} =~ /(?:\]\(|src="|href=")([^)"\s]+)/g) {
        next if /^[a-z]+:/;
        my ($path, $heading) = split /#/, $_, 2;
        my $target = $path eq '' ? $page : dirname($page) . "/$path";
        if (!-e $target) { missing($page, 'no such file', $_) }
        elsif (defined $heading && !$headings{realpath $target}{$heading}) { missing($page, 'no such heading', $_) }
    }
    for ($prose{$page} =~ m{`([\w.-]+/[\w./-]+\.(?:rs|sh|js|html|css|service))`}g) {
        missing($page, 'no such file', $_) unless -e || -e "crates/$_";
    }
}
print $missing ? "0 passed, 1 failed\n" : "1 passed, 0 failed\n";
exit($missing > 0);
END
