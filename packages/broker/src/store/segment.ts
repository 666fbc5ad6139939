export interface Segment {
  readonly number: number
}
