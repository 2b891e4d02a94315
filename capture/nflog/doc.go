// Package nflog captures the packets that rules of Linux's packet filter log to a group: "log group 5" of nft, "-j NFLOG
// --nflog-group 5" of iptables. They come in messages of a netlink socket (linux/netfilter/nfnetlink_log.h), and are in files as
// the messages have them: https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html.
package nflog
