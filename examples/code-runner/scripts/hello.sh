# Says hello.
# expect: exit 0
# output: hello from a shell
echo "hello from a shell"
