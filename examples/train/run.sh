# A training: progress lines, a checkpoint per epoch, a clean exit on SIGTERM.
epochs=${EPOCHS:-6}
trap 'echo "asked to stop; the last checkpoint is kept"; exit 143' TERM
epoch=1
while [ "$epoch" -le "$epochs" ]; do
  sleep 1
  echo "epoch $epoch/$epochs  loss 0.$((90 / epoch))"
  echo "epoch $epoch" > /outdir/checkpoint.txt
  epoch=$((epoch + 1))
done
echo "$epochs epochs done" > /outdir/report.txt
