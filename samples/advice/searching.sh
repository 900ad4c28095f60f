# Shells around one plain command, and for each a search along a long PATH by env. Record it with -e fail.
PATH=/a:/b:/c:/d:/e:/f:/g:/h:$PATH
n=0
while [ $n -lt 31 ]; do
	sh -c 'env date +%s' >/dev/null
	n=$((n + 1))
done
