# Sends signal $1 to the program of a container and not to the shells and launchers above it, which would die of it
# and take the program with them. Run in the container as its own user, with the shell's own commands only.
#
# A process gets the signal if it catches it or has no children, and no process above it catches it: who catches the
# signal decides itself what becomes of its children.
pids= done=1
for dir in /proc/[0-9]*; do
  pid=${dir#/proc/} name= state= parent=0 caught=
  [ "$pid" = "$$" ] && continue
  while read -r key value rest; do
    case $key in
      Name:) name=$value ;;
      State:) state=$value ;;
      PPid:) parent=$value ;;
      SigCgt:) caught=${value#????????}; break ;;
    esac
  done 2>/dev/null <"$dir/status" || continue
  [ -z "$caught" ] || [ "$state" = Z ] && continue
  catches=$(( (0x$caught >> ($1 - 1)) & 1 ))
  case $name in
    # An init hands the signal to its child alone, and ends with it.
    tini | tini-static | docker-init | dumb-init | catatonit) catches=0 ;;
  esac
  pids="$pids $pid"
  eval "catches_$pid=$catches parent_$pid=$parent has_child_$parent=1"
done
for pid in $pids; do
  eval "catches=\$catches_$pid has_child=\${has_child_$pid-}"
  [ "$catches" = 0 ] && [ "$has_child" ] && continue
  # Only what comes from the container's own first process: another exec, such as a health check, is not its program.
  top=$pid
  while eval "above=\${parent_$top-0}"; [ "$above" != 0 ]; do
    eval "catches=\${catches_$above-0}"
    [ "$catches" = 1 ] && continue 2
    top=$above
  done
  [ "$top" = 1 ] && kill "-$1" "$pid" 2>/dev/null && done=0
done
exit $done
