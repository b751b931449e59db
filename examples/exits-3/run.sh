echo "reading /imgdir/faces.csv"
echo "error: no such file" >&2
exit 3
