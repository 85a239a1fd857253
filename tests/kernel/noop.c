/* A program for driver.c to execute. */
int main(void) {
    return 0;
}
