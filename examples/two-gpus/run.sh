count=$(echo "$NVIDIA_VISIBLE_DEVICES" | tr ',' '\n' | wc -l)
echo "I hold $count GPUs: $NVIDIA_VISIBLE_DEVICES"
for second in 1 2 3 4 5 6 7 8; do
  echo "working on both, second $second of 8"
  sleep 1
done
[ "$count" = 2 ]
