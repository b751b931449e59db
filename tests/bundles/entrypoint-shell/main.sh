echo "mode $1, $# argument"
